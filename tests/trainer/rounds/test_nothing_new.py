import dataclasses
import json
import shutil
from pathlib import Path

from preference.projects.versions import Versions
from tests.support.lab import JudgedProject, Lab, judged_tasks
from trainer.rounds.context import RoundContext
from trainer.rounds.nothing_new import nothing_new
from trainer.rounds.reading import read_pairs


def test_another_number_format_is_something_new_to_a_recipe_that_computes_in_it(lab_with_champion: Lab) -> None:
    lab, versions = lab_with_champion, Versions(lab_with_champion.folder)
    context = RoundContext(JudgedProject(judged_tasks(60)), lab.folder, lab.settings, lab.extractors)
    reading = read_pairs(context)

    def reason(recipe: str, dtype: str) -> str:
        return nothing_new(
            dataclasses.replace(context, settings=lab.settings.replace(recipe=recipe, reward_dtype=dtype)), reading
        )

    assert reason("frozen", "bfloat16"), "it only reads features"
    path = versions.path(versions.champion() or "") / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "recipe": "lora", "dtype": "float32"}), encoding="utf-8")
    assert reason("lora", "float32")
    assert not reason("lora", "bfloat16")


def test_other_contents_of_the_base_folder_are_something_new(lab_with_champion: Lab, tmp_path: Path) -> None:
    lab, versions = lab_with_champion, Versions(lab_with_champion.folder)
    base = Path(shutil.copytree(lab.settings.training.reward_base, tmp_path / "base"))
    path = versions.path(versions.champion() or "") / "card.json"
    card = json.loads(path.read_text())
    assert card["base_fingerprint"]
    path.write_text(json.dumps({**card, "base": str(base)}), encoding="utf-8")
    settings = lab.settings.replace(reward_base=str(base))

    def reason() -> str:
        context = RoundContext(JudgedProject(judged_tasks(60)), lab.folder, settings, lab.extractors)
        return nothing_new(context, read_pairs(context))

    assert reason().startswith("nothing is new since "), "the same files elsewhere are the same base"
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}), encoding="utf-8")
    assert reason() == ""

    path.write_text(json.dumps({**card, "base": str(base), "base_fingerprint": ""}), encoding="utf-8")  # an earlier build's
    assert reason().startswith("nothing is new since ")
