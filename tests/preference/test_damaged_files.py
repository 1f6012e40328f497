import json
import logging
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from backend.scoring.champion import Champions
from preference.errors import RegistryError
from preference.projects.promotions import PROMOTIONS
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.dying import CARD
from tests.support.lab import Lab, judged_tasks
from tests.support.two_versions import with_two_versions
from tests.support.versions import publish_version
from trainer.__main__ import main

# Damage


@pytest.mark.parametrize("pointer", [b"\xff\xfe\x80", b"v1-20260101-000000\n", b"../../etc", b"v1\0\xc3", b"", b"\n\n"])
def test_a_damaged_pointer_is_a_version_that_is_not_there_for_everybody(
    pointer: bytes, tiny_base: Path, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5))
    folder = lab.folder
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    champions = Champions(lab.settings.model_dir, device=torch.device("cpu"))
    champions.of(7).refresh()
    (folder.path / "champion").write_bytes(pointer)

    for _ in range(2):
        assert not champions.of(7).refresh()
    serving = champions.of(7).serving
    assert serving is not None and serving.version == version, "the old one serves on"
    assert (champions.of(7).problem is not None) is bool(pointer.strip())
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == bool(pointer.strip())
    environ = {"MODEL_DIR": str(lab.settings.model_dir)}
    status, versions = (CliRunner().invoke(main, [command], env=environ) for command in ("status", "versions"))
    assert (status.exit_code, versions.exit_code) == (0, 0)
    assert version in versions.output
    assert ("is not among the versions; roll back, or promote another one" in status.output) is bool(pointer.strip())

    Versions(folder).promote(version)
    assert not champions.of(7).refresh()
    assert (Versions(folder).champion(), champions.of(7).problem) == (version, None)


def test_a_round_under_a_damaged_pointer_is_judged_without_a_champion_and_repairs_it(
    tiny_base: Path, settings_for: SettingsFactory
) -> None:
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5))
    lab.folder.create()
    (lab.folder.path / "champion").write_bytes(b"\xff\xfe\x80")

    ended = lab.round(judged_tasks(60))

    assert ended.outcome == "promoted"
    assert "cannot be loaded" in ended.reason
    assert Versions(lab.folder).champion() == ended.version


# A clock that is set back


def test_versions_and_rollbacks_keep_their_order_if_the_clock_was_set_back(tmp_path: Path) -> None:
    folder = with_two_versions(tmp_path / "models")
    first, second = Versions(folder).all()
    ahead = first.replace(first.split("-")[1], "20990101")
    Versions(folder).path(first).rename(Versions(folder).path(first).with_name(ahead))  # both were made while the clock was ahead
    log = Versions(folder).path(ahead) / PROMOTIONS
    entry = json.loads(log.read_text(encoding="utf-8"))
    log.write_text(json.dumps({**entry, "at": "2099-01-01T00:00:00.000000+00:00"}) + "\n", encoding="utf-8")
    (folder.path / "champion").write_text(ahead, encoding="utf-8")

    Versions(folder).promote(second)
    third = Versions(folder).publish(tmp_path / "models" / "draft", CARD)
    Versions(folder).promote(third)

    assert Versions(folder).all() == [ahead, second, third]
    assert [Versions(folder).rollback(), Versions(folder).rollback()] == [second, ahead]
    with pytest.raises(RegistryError, match=r"has no champion before"):
        Versions(folder).rollback()
    moments = [entry.at for version in Versions(folder).all() for entry in Versions(folder).card(version).promotions]
    assert len(set(moments)) == len(moments) == 5
