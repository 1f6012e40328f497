import dataclasses
import json

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
