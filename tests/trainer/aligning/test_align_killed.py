"""An alignment that is killed is taken up by the next, if that would learn the same."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from preference.errors import StudioError
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.studio.project import LabelStudioProject
from tests.support.aligned_house import QUICK, SHORT, AlignedHouse
from tests.support.killed_alignments import killed, step_kept
from tests.support.tolerance import TRAINED_REWARDS, assert_close, assert_same_weights
from trainer.aligning.align import Alignment
from trainer.aligning.alignment import UnfinishedAlignment

FEW = replace(QUICK, epochs=2)


def adapter(house: AlignedHouse, ended: Alignment) -> Any:
    return load_file(Generators(house.folder).weights(ended.version) / "adapter_model.safetensors")


def test_killed_in_its_steps_and_again_before_its_verdict_it_ends_as_if_nothing_had_been(
    house: AlignedHouse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(60)
    undisturbed = house.align(FEW)
    Generators(house.folder).promote("base", by="hand")  # beside which the next one is judged, too
    caplog.clear()

    killed(house, FEW, step=5)
    killed(house, FEW, beginning="judging it beside")
    kept = UnfinishedAlignment(house.folder).folder
    assert (kept / "version").stat().st_mode & 0o777 == 0o700
    ended = house.align(FEW)

    assert [message.partition("aligning: ")[2] for message in caplog.messages if "taking up" in message] == [
        "taking up the alignment that was killed (attempt 2)",
        "taking up the alignment that was killed (attempt 3)",
    ]
    assert [message for message in caplog.messages if message.startswith("going on")] == [
        f"going on after step 5 of {house.card(undisturbed).num_steps}"
    ]
    assert [line.partition(":")[0] for line in house.said] == ["judging it beside base"], "it does not learn a second time"
    assert_same_weights(adapter(house, ended), adapter(house, undisturbed))
    before, after = house.card(undisturbed), house.card(ended)
    for name in ("num_pairs", "num_steps", "num_wanted_steps", "num_annotations", "num_held_back", "base", "promoted"):
        assert getattr(after, name) == getattr(before, name), name
    assert_close(after.margin or 0, before.margin or 0, within=10 * TRAINED_REWARDS)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda house: house.judge(1), "judgements"),
        (lambda house: setattr(house, "settings", house.settings.replace(seed=2)), "seed"),
        (lambda house: setattr(house, "settings", house.settings.replace(max_prompt_tokens=99)), "settings"),
    ],
    ids=["judgements", "seed", "settings"],
)
def test_one_that_would_learn_something_else_begins_anew(
    house: AlignedHouse, caplog: pytest.LogCaptureFixture, change: Callable[[AlignedHouse], object], what: str
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(60)
    killed(house, SHORT, step=1)
    assert step_kept(house.folder) == 1
    change(house)

    killed(house, SHORT, beginning="learning from")

    (line,) = [message for message in caplog.messages if "is not taken up" in message]
    assert line.endswith(f": the alignment that was killed is not taken up: it had other {what}")
    assert step_kept(house.folder) == 0


def test_a_recipe_of_its_own_begins_anew(house: AlignedHouse, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(60)
    killed(house, SHORT, step=1)

    killed(house, replace(SHORT, learning_rate=2e-3), beginning="learning from")

    assert [message for message in caplog.messages if message.endswith("it had other recipe")]


def test_a_label_studio_that_goes_away_before_the_verdict_costs_no_step(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(report_to="tensorboard")
    house.judge(60)
    house.project = LabelStudioProject(house.settings.studio, house.project.id, patience_seconds=0.1)
    house.when_said = lambda line: house.studio.go_down() if line.startswith("learning from") else None
    with pytest.raises(StudioError):
        house.align(SHORT)
    house.studio.go_up()
    house.when_said = lambda line: None

    ended = house.align(SHORT)

    assert [line.partition(":")[0] for line in house.said] == ["judging it beside base"]
    assert Generators(house.folder).all() == [ended.version]
    (curve,) = house.folder.path.glob("curves/*-align/events.*")
    assert curve.read_bytes().count(b"train/loss") == house.card(ended).num_steps


def test_what_a_damaged_record_left_is_not_taken_for_another_alignments(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, 3)
    folder.create()
    unfinished = UnfinishedAlignment(folder)
    unfinished.begin()
    unfinished.take_up({"base": "a"})
    (unfinished.folder / "trained.json").write_text("{}", encoding="utf-8")
    (unfinished.folder / "alignment.json").write_text("{", encoding="utf-8")

    unfinished.begin()
    unfinished.take_up({"base": "b"})

    assert [path.name for path in unfinished.folder.iterdir()] == ["alignment.json"]
