from pathlib import Path

import pytest

from preference.errors import RegistryError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt, Turn
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from tests.support.adapters import publish_generator
from tests.support.aligned_house import AlignedHouse
from tests.support.lab import LABEL_CONFIG
from trainer.aligning.writing import MOST_PROMPTS, distance_to_base, held_out_prompts, write

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
PROMPTS: list[Prompt] = [
    "Tell me of the sea.",
    "Why?",
    (Turn("user", "A question"), Turn("assistant", "An answer"), Turn("user", "And then?")),
]


def test_prompts_are_held_out_unlike_and_those_that_people_judged_first(house: AlignedHouse) -> None:
    holdout = Holdout(0.3)
    texts = [f"Prompt {number}" for number in range(400)]
    held_out = [text for text in texts if holdout.has(text)]
    house.studio.add_tasks(house.project.id, *({"prompt": text, "answer1": "", "answer2": ""} for text in texts))
    answered_last = (Turn("user", "x"), Turn("assistant", "y"))
    judged: list[Prompt] = [held_out[50], f"{held_out[50].upper()}!", texts[0], answered_last]

    found = held_out_prompts(house.project, LAYOUT, holdout, judged=judged, learnt=[held_out[3].upper()])

    assert found[0] == held_out[50]
    assert found[1:] == [text for text in held_out if text not in (held_out[3], held_out[50])][: MOST_PROMPTS - 1]


def test_prompts_that_an_earlier_version_trained_on_are_left_out(house: AlignedHouse) -> None:
    smaller = Holdout(0.1)
    texts = [f"Prompt {number}" for number in range(100)]

    found = held_out_prompts(
        house.project, LAYOUT, Holdout(0.5, earlier=(smaller,)), judged=texts, learnt=[]
    )  # fmt: skip

    assert found == [text for text in texts if smaller.has(text)]


def test_a_prompt_alone_decides_what_is_written(house: AlignedHouse, tiny_chat_base: Path) -> None:
    publish_generator(house.folder, house.settings, tiny_chat_base)
    engine, adapter = HuggingFaceGenerator(house.settings), Generators(house.folder).served()

    learnt, base, again = write(engine, PROMPTS, adapter), write(engine, PROMPTS, None), write(engine, PROMPTS[1:], None)

    assert [len(answers.answers) for answers in base] == [2, 2, 2]
    assert [answers.answers for answers in base[1:]] == [answers.answers for answers in again]
    assert [answers.answers for answers in learnt] != [answers.answers for answers in base]


def test_the_distance_to_the_base_is_none_for_what_is_the_base(house: AlignedHouse, tiny_chat_base: Path) -> None:
    folder = ProjectFolder(house.settings.model_dir, 1)
    publish_generator(folder, house.settings, tiny_chat_base)
    engine, adapter = HuggingFaceGenerator(house.settings), Generators(folder).served()
    assert adapter is not None

    far = distance_to_base(engine, PROMPTS, write(engine, PROMPTS, adapter), adapter)

    assert far > 0.01
    assert distance_to_base(engine, [], [], adapter) == 0


def test_a_version_that_cannot_be_used_does_not_let_the_base_write(house: AlignedHouse, tmp_path: Path) -> None:
    engine = HuggingFaceGenerator(house.settings)

    with pytest.raises(RegistryError, match="is not a generator's card"):
        write(engine, PROMPTS, Adapter("g1-20261121-062026", tmp_path))
