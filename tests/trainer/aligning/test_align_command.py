import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import Result

from preference.errors import TrainingError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.generators import Generators
from preference.projects.status_files import LastAlignment, LastRound
from preference.projects.versions import Versions
from tests.support.aligned_house import AlignedHouse
from tests.support.killed_alignments import killed
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version
from trainer.aligning.alignment import ALIGNMENT, UnfinishedAlignment
from trainer.generator_training.recipe import CHOSEN, KTO, METHODS
from trainer.rounds.lock import only_one
from trainer.rounds.outcome import read_outcome
from trainer.rounds.unfinished import MAX_ATTEMPTS

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    made = ProjectFolder(tmp_path, 3)
    made.create()
    return made


def test_an_alignment_that_cannot_be_ends_with_one_sentence(invoke: Invoke) -> None:
    result = invoke("align", "--project", "3", GENERATOR_ENGINE="echo")

    assert result.exit_code == 1
    assert result.output.startswith("Error: GENERATOR_ENGINE=echo writes with no model that could learn; set")
    assert "Traceback" not in result.output


def test_what_is_no_project_is_not_known_because_its_generator_was_to_learn(
    invoke: Invoke, folder: ProjectFolder, studio: StudioDouble, tmp_path: Path
) -> None:
    result = invoke("align", "--project", "999", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=KEY)

    assert result.exit_code == 1 and "999" in result.output
    assert [known.project_id for known in known_projects(tmp_path)] == [3]


def test_an_alignment_by_hand_is_the_one_that_was_asked_for(invoke: Invoke, folder: ProjectFolder) -> None:
    folder.request("align")

    invoke("align", "--project", "3", GENERATOR_ENGINE="echo")

    assert not folder.is_requested("align")


def test_the_daemon_learns_that_an_alignment_cannot_be_which_is_no_error(invoke: Invoke, folder: ProjectFolder) -> None:
    result = invoke("align", "--json", "--project", "3", GENERATOR_ENGINE="echo")

    assert result.exit_code == 0
    ended = read_outcome(result.stdout)
    assert ended is not None and ended.outcome == "skipped"
    assert ended.reason.startswith("GENERATOR_ENGINE=echo writes with no model that could learn")
    assert LastAlignment.read(folder.path).reason == ended.reason
    assert not LastRound.read(folder.path).outcome
    with only_one(folder, ALIGNMENT):
        result = invoke("align", "--json", "--project", "3")
    with pytest.raises(TrainingError, match="in the middle of an alignment of project 3"):
        read_outcome(result.stdout)


def environ_of(house: AlignedHouse, base: Path) -> dict[str, str]:
    """What a command is told of the house, whose generator and reward model have this base."""
    settings = house.settings
    return {
        "MODEL_DIR": str(settings.model_dir), "LABEL_STUDIO_URL": settings.studio.url, "LABEL_STUDIO_API_KEY": KEY,
        "GENERATOR_MODEL": str(base), "REWARD_BASE": str(base), "MAX_NEW_TOKENS": "8", "HOLDOUT_FRACTION": "0.3",
        "DTYPE": "float32",
    }  # fmt: skip


def test_one_that_was_killed_is_taken_up_by_its_method_unless_another_is_named(
    invoke: Invoke, house: AlignedHouse, tiny_chat_base: Path
) -> None:
    environ = environ_of(house, tiny_chat_base)
    house.judge(64)
    killed(house, KTO, beginning="learning from")

    result = invoke("align", "--json", "--project", str(house.project.id), **environ)  # as the trainer runs it

    ended = read_outcome(result.stdout)
    assert ended is not None and ended.version is not None, result.output
    assert Generators(house.folder).card(ended.version).method == "kto"


def test_each_method_is_known_by_what_a_killed_one_left(folder: ProjectFolder) -> None:
    for recipe in (*METHODS.values(), CHOSEN):
        unfinished = UnfinishedAlignment(folder)
        unfinished.begin()
        assert unfinished.recipe is None, "its judgements are being read"
        unfinished.take_up({"recipe": json.loads(json.dumps(asdict(recipe)))})
        assert unfinished.recipe == recipe
        unfinished.take_up({"recipe": {**asdict(recipe), "beta": 7}})
        assert unfinished.recipe is None, "another build's"
        unfinished.remove()
    for _ in range(MAX_ATTEMPTS):
        unfinished.begin()
        unfinished.take_up({"recipe": asdict(KTO)})
    assert unfinished.recipe is None, "it would be killed again"


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--method", "ppo"], ["--method", "best-of-n", "--minutes", "3"], []])
def test_wrong_options_of_an_alignment_are_refused(invoke: Invoke, arguments: list[str]) -> None:
    assert invoke("align", *(["--project", "3", *arguments] if arguments else [])).exit_code == 2


@pytest.mark.parametrize("method", [[], ["--method", "kto"], ["--method", "best-of-n"]])
def test_chosen_answers_are_of_sft_alone(invoke: Invoke, method: list[str]) -> None:
    result = invoke("align", "--project", "3", *method, "--chosen", GENERATOR_ENGINE="echo")

    assert result.exit_code == 2
    assert result.output.endswith("Error: --chosen goes with --method sft.\n")


def test_best_of_n_prints_what_it_would_do_and_needs_a_reward_model(
    invoke: Invoke, house: AlignedHouse, tiny_chat_base: Path
) -> None:
    environ = environ_of(house, tiny_chat_base)
    arguments = ["align", "--project", str(house.project.id), "--method", "best-of-n"]
    house.judge(90)

    result = invoke(*arguments, **environ)
    assert result.exit_code == 1
    assert result.output == "Error: Project 1 serves no reward model to choose by; `pairloop-trainer once` trains one.\n"

    house.folder.create()
    champion = publish_version(house.folder, tiny_chat_base, weight=1)
    Versions(house.folder).promote(champion)
    result = invoke(*arguments, **environ)
    assert result.exit_code == 0, result.output
    assert f"project 1: the best of 7 answers by {champion} wins " in result.output
    assert "project 1: it takes 7 answers written and scored a task; now NUM_CANDIDATES=2\n" in result.output
    result = invoke(*arguments, "--json", **environ)
    values = json.loads(result.stdout)
    assert (values["num_candidates"], values["chosen_by"], values["compared_with"]) == (7, champion, "base")
    assert not LastAlignment.read(house.folder.path).outcome
