"""Rounds of projects whose label config is another of Label Studio's templates."""

from collections import Counter

from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from tests.support.lab import Lab, judged_tasks
from tests.support.templates import RECORDED

WITHOUT_PROMPT = RECORDED["ranking-and-scoring/pairwise-classification"]


def test_a_reward_model_is_trained_and_judged_on_two_texts_alone(lab: Lab) -> None:
    tasks = judged_tasks(60)
    for number, task in enumerate(tasks):  # the texts alone come twice
        task["data"] = {f"pairText{n}": f"{task['data'][f'answer{n}']} {number}" for n in (1, 2)}
        task["annotations"][0]["result"][0] |= {"from_name": "pw", "to_name": "pw"}
    layout = LabelingLayout.from_label_config(WITHOUT_PROMPT)
    pairs = [pair for task in tasks for pair in pairs_of_task(task, layout, dropped=Counter())]

    ended = lab.round(tasks, label_config=WITHOUT_PROMPT)

    card = lab.card(ended)
    train, held_out = Holdout(lab.settings.training.holdout_fraction).split(pairs)
    assert (card.num_train_pairs, card.num_holdout_pairs) == (len(train), len(held_out))
    assert held_out
    assert card.metrics.accuracy is not None and card.metrics.accuracy > 0.8
    assert card.fields == {"left": "pairText1", "right": "pairText2"}


def test_a_project_that_collects_demonstrations_has_nothing_to_train(lab: Lab) -> None:
    ended = lab.round([], label_config=RECORDED["generative-ai/supervised-llm"])

    assert ended.outcome == "skipped"
    assert ended.reason == (
        'The label config collects answers that people write ("instruction"), and no comparison: '
        "nothing is trained; pairloop-trainer export --format sft writes them."
    )
