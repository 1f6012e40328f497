from pathlib import Path

import pytest

from preference.errors import StudioKeyError, StudioUnreachable
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.lab import Lab, judged_tasks
from trainer.rounds.outcome import Round


def test_an_unreachable_label_studio_is_the_callers_to_know(lab: Lab) -> None:
    with pytest.raises(StudioUnreachable, match="does not answer"):
        lab.round(judged_tasks(30), error=StudioUnreachable("Label Studio does not answer"))

    assert Versions(lab.folder).all() == []


def test_a_failure_that_has_a_message_ends_the_round_with_it(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    ended = lab.round(judged_tasks(30), error=StudioKeyError("Label Studio refuses LABEL_STUDIO_API_KEY."))

    assert ended == Round("failed", "Label Studio refuses LABEL_STUDIO_API_KEY.")
    assert [(r.levelname, r.getMessage(), r.exc_info) for r in caplog.records if r.name == "pairloop.rounds"] == [
        ("ERROR", "project 7: round failed: Label Studio refuses LABEL_STUDIO_API_KEY.", None)
    ]


def test_any_other_failure_ends_the_round_and_leaves_its_trace_in_the_log(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    ended = lab.round(judged_tasks(30), error=ZeroDivisionError("a defect"))

    assert ended == Round("failed", "ZeroDivisionError; the log above has the trace")
    first, second = [record for record in caplog.records if record.name == "pairloop.rounds"]
    assert first.getMessage() == "project 7: the round failed"
    assert first.exc_info is not None
    assert second.getMessage() == "project 7: round failed: ZeroDivisionError; the log above has the trace"


def test_a_base_that_cannot_be_loaded_fails_the_round_with_what_to_do(
    lab: Lab, settings_for: SettingsFactory, tmp_path: Path
) -> None:
    lab.settings = settings_for(reward_base=str(tmp_path / "gone"), min_pairs=20)

    ended = lab.round(judged_tasks(30))

    assert ended.outcome == "failed"
    assert f"The model '{tmp_path / 'gone'}' cannot be loaded" in ended.reason


def test_a_broken_champion_does_not_stop_the_loop(lab_with_champion: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab = lab_with_champion
    champion = Versions(lab.folder).champion() or ""
    (Versions(lab.folder).path(champion) / "model.safetensors").write_bytes(b"damaged")

    ended = lab.round(judged_tasks(64))

    assert ended.outcome == "promoted"
    assert lab.card(ended).compared_with is None
    assert ended.reason.endswith(f", and the champion {champion} cannot be loaded")
    assert lab.card(ended).reason == ended.reason
    assert f"the champion {champion} cannot be loaded, so the challenger is judged without it" in caplog.text
