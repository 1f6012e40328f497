"""A rater on the judged tasks of a lab, behind a double of a server of OpenAI's API."""

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preference.errors import ModelError, TrainingError
from preference.generation.openai_server import OpenAIServer
from preference.labelling.holdout import Holdout
from preference.projects.versions import Versions
from preference.report_card.raters import RaterFigures, read_raters
from preference.settings import Settings
from tests.support.lab import HOLDOUT, JudgedProject, Lab, judged_tasks
from tests.support.openai_double import KEY, OpenAIDouble
from tests.support.separable_pairs import separable_pairs
from trainer.llm_judge.rate import rate
from trainer.llm_judge.rater import Rater
from trainer.rounds.context import RoundContext

TASKS = judged_tasks(60)
CHOSEN = {pair.chosen for pair in separable_pairs(60)}
NUM_HELD_OUT = len(Holdout(HOLDOUT).split(separable_pairs(60))[1])


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        double.write = by_people
        yield double


@pytest.fixture
def lab(tiny_base: Path, tmp_path: Path) -> Lab:
    environ = {"MODEL_DIR": str(tmp_path / "models"), "REWARD_BASE": str(tiny_base), "SEED": "5", "DEVICE": "cpu"}
    return Lab(Settings.from_environ({**environ, "MIN_PAIRS": "20", "HOLDOUT_FRACTION": str(HOLDOUT)}))


def answers_in(question: str) -> tuple[str, str]:
    found = re.fullmatch(r".*<answer A>\n(.*)\n</answer A>\n\n<answer B>\n(.*)\n</answer B>", question, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def by_people(question: str, seed: int) -> str:
    """Says what the annotators of the lab said."""
    first, _ = answers_in(question)
    return "[[A]]" if first in CHOSEN else "[[B]]"


def rated(
    lab: Lab, server: OpenAIDouble, *, model: str = "tiny", tasks: list[dict[str, Any]] = TASKS, key: str = ""
) -> RaterFigures:
    openai = lab.settings.openai.model_copy(update={"base_url": server.url, "concurrency": 4})
    rater = Rater(OpenAIServer(openai, "--model", "--url", max_retries=0), model, thinking_tokens=100, template_options={})
    context = RoundContext(JudgedProject(tasks), lab.folder, lab.settings, lab.extractors)
    return rate(context, rater)


def test_a_rater_that_goes_as_people_do_agrees_with_all_of_them(lab: Lab, server: OpenAIDouble) -> None:
    figures = rated(lab, server)

    assert (figures.agreement.value, figures.agreement.count) == (1.0, NUM_HELD_OUT)
    assert figures.agreement.interval is not None and figures.agreement.interval[0] > 0.7
    assert (figures.num_ties, figures.num_unreadable, figures.num_refused) == (0, 0, 0)
    assert (figures.first_rate.value, figures.first_rate.count) == (0.5, 2 * NUM_HELD_OUT)
    assert (figures.champion, figures.champion_accuracy.value, figures.people.value) == (None, None, None)
    assert read_raters(lab.folder.path) == [figures]
    assert len(server.requests) == 2 * NUM_HELD_OUT  # each in both orders
    assert len({answers_in(prompt) for prompt in server.prompts}) == 2 * NUM_HELD_OUT
    (settings,) = {(request["temperature"], request["max_tokens"], request["model"]) for request in server.requests}
    assert settings == (0, 132, "tiny")


@pytest.mark.parametrize(
    ("write", "agreement", "num_ties"),
    [
        (lambda question, seed: "[[A]]", 0.5, NUM_HELD_OUT),  # always the one that comes first
        (lambda question, seed: "[[C]]", 0.5, NUM_HELD_OUT),
        (lambda question, seed: {"[[A]]": "[[B]]", "[[B]]": "[[A]]"}[by_people(question, seed)], 0.0, 0),
    ],
    ids=["the first", "neither", "the contrary"],
)
def test_what_is_said_in_one_order_only_is_a_tie(
    lab: Lab, server: OpenAIDouble, write: Callable[[str, int], str], agreement: float, num_ties: int
) -> None:
    server.write = write
    figures = rated(lab, server)
    assert (figures.agreement.value, figures.agreement.count, figures.num_ties) == (agreement, NUM_HELD_OUT, num_ties)


def test_replies_that_say_nothing_and_refusals_are_counted_and_left_out(lab: Lab, server: OpenAIDouble) -> None:
    rated(lab, server)
    refused = server.prompts[0]
    unread = next(question for question in server.prompts if set(answers_in(question)) != set(answers_in(refused)))
    shutil.rmtree(lab.folder.path / "raters")
    server.refusals = {refused: (400, {"error": {"message": "not this one"}})}
    server.write = lambda question, seed: "Hm." if question == unread else by_people(question, seed)

    figures = rated(lab, server)

    assert (figures.num_refused, figures.num_unreadable) == (1, 1)
    assert (figures.agreement.value, figures.agreement.count) == (1.0, NUM_HELD_OUT - 2)
    num_asked = len(server.requests)
    assert rated(lab, server).agreement == figures.agreement
    assert len(server.requests) == num_asked + 1, "what was refused is asked again, and nothing else"


def test_a_server_that_refuses_every_question_is_one_sentence_and_nothing_is_kept(lab: Lab, server: OpenAIDouble) -> None:
    server.limit = "another"  # neither name of the limit is known there
    with pytest.raises(ModelError, match=r"failed \(400: .*\); its own log may say why"):
        rated(lab, server)
    assert read_raters(lab.folder.path) == []

    server.limit = "max_tokens"
    assert rated(lab, server).agreement.count == NUM_HELD_OUT


def test_a_model_that_takes_no_temperature_but_its_own_is_asked_without(lab: Lab, server: OpenAIDouble) -> None:
    server.takes_temperature = False

    assert rated(lab, server).agreement.value == 1.0
    assert len([request for request in server.requests if "temperature" in request]) <= 16  # one for each seat at most


def test_a_server_that_goes_away_costs_what_it_had_not_said_yet(lab: Lab, server: OpenAIDouble) -> None:
    num_said = 9

    def fail_later(question: str, seed: int) -> str:
        if len(server.requests) > num_said:
            server.failures = [0] * 40  # each connection drops from now on
        return by_people(question, seed)

    server.write = fail_later
    with pytest.raises(ModelError, match=r"does not answer \(.*\); start it, or set --url\."):
        rated(lab, server)
    assert read_raters(lab.folder.path) == []

    before = len(server.requests)
    server.failures, server.write = [], by_people
    figures = rated(lab, server)
    assert figures.agreement.value == 1.0
    assert len(server.requests) - before <= 2 * NUM_HELD_OUT - num_said + 4


def test_a_server_that_is_away_a_wrong_model_and_a_refused_key_are_one_sentence_each(lab: Lab, server: OpenAIDouble) -> None:
    with pytest.raises(ModelError) as raised:
        rated(lab, server, model="huge")
    assert str(raised.value) == (
        f"{server.url} has no model 'huge' or no chat endpoint (404); set --model, OPENAI_ENDPOINT or --url."
    )
    server.wants_key = True
    with pytest.raises(ModelError) as raised:
        rated(lab, server)
    assert "refused the key (401); set OPENAI_API_KEY" in str(raised.value) and KEY not in str(raised.value)
    with OpenAIDouble() as away:
        pass
    with pytest.raises(ModelError, match="does not answer"):
        rated(lab, away)


def test_newer_judgements_are_asked_about_and_older_replies_stay(lab: Lab, server: OpenAIDouble) -> None:
    rated(lab, server, tasks=TASKS[:55])
    num_asked = len(server.requests)
    assert 0 < num_asked < 2 * NUM_HELD_OUT
    assert rated(lab, server).agreement.count == NUM_HELD_OUT
    assert len(server.requests) == 2 * NUM_HELD_OUT


def test_the_champion_is_measured_on_the_same_comparisons_and_no_vote_is_a_persons(lab: Lab, server: OpenAIDouble) -> None:
    ended = lab.round(TASKS)
    card = lab.card(ended)
    figures = rated(lab, server)
    assert figures.champion == Versions(lab.folder).champion() == ended.version
    assert (figures.champion_accuracy.value, figures.champion_accuracy.count) == (card.metrics.accuracy, NUM_HELD_OUT)

    lab.settings = lab.settings.replace(seed=6)
    again = lab.card(lab.round(TASKS))
    assert (again.num_train_pairs, again.num_annotations) == (card.num_train_pairs, card.num_annotations)
    assert again.report.people == card.report.people


def test_without_a_held_out_comparison_there_is_nothing_to_judge(lab: Lab, server: OpenAIDouble) -> None:
    with pytest.raises(TrainingError, match="has no held-out comparison that people agree on yet; judge more tasks"):
        rated(lab, server, tasks=[])
    assert server.requests == []


def test_a_damaged_file_of_a_rater_costs_itself_alone(lab: Lab, server: OpenAIDouble) -> None:
    figures = rated(lab, server)
    raters = lab.folder.path / "raters"
    (raters / "a.json").write_text("{")
    (raters / "b.json").write_text("[]")
    (raters / "c.json").write_text('{"rater": "c", "agreement": 7, "num_ties": "x", "people": {"value": 2}}')
    known = {found.rater: found for found in read_raters(lab.folder.path)}
    assert known["tiny"] == figures
    assert known["c"] == dataclasses.replace(RaterFigures(), rater="c")


def test_with_a_weight_it_is_asked_about_all_and_trained_on_and_counted_as_nobody(lab: Lab, server: OpenAIDouble) -> None:
    training = lab.settings.training
    without = lab.card(lab.round(TASKS))
    lab.settings = lab.settings.model_copy(update={"training": training.model_copy(update={"judge_weight": 0.25})})
    server.write = lambda question, seed: {"[[A]]": "[[B]]", "[[B]]": "[[A]]"}[by_people(question, seed)]

    figures = rated(lab, server)
    assert len(server.requests) == 2 * len(TASKS)
    assert (figures.agreement.value, figures.agreement.count) == (0.0, NUM_HELD_OUT)
    ended = lab.round(TASKS)

    card = lab.card(ended)
    assert (card.rater, card.num_rated_pairs) == ("tiny", len(TASKS) - NUM_HELD_OUT)
    assert (without.rater, without.num_rated_pairs) == ("", None)
    assert (card.num_train_pairs, card.num_holdout_pairs) == (without.num_train_pairs, without.num_holdout_pairs)
    assert card.report.people == without.report.people
    assert card.probe["reward"] != pytest.approx(without.probe["reward"], abs=1e-4), "it learnt from the contrary opinions, too"
    assert {point.num_pairs for point in card.report.learning_curve} <= set(range(len(TASKS)))
