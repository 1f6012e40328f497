"""The card of a generator version: what it learnt from, and how its answers compare, as its card.json holds it.

Covered: a card of another build, a damaged one and a hostile one: each value is what it should be, or is missing.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from preference.errors import RegistryError
from preference.report_card.card import Promotion
from preference.report_card.shares import Share
from preference.tolerant import Count, Flag, Items, Known, Number, Part, Rows, Text, Words, adapter_of, otherwise, read_as


@dataclass(frozen=True)
class AnswerFigures:
    """What the answers of one generator to the held-out prompts are like."""

    num_letters: Known[Number] = None  # of an answer, on average
    repeats: Known[Part] = None  # the share that repeat themselves
    cut: Known[Part] = None  # the share that MAX_NEW_TOKENS cut off
    distinct: Known[Part] = None  # the share that are unlike all others
    refuses: Known[Part] = None  # the share that begin by refusing, in English


@dataclass(frozen=True)
class GeneratorFigures:
    """A generator beside another one, on held-out prompts with the same seeds; trainer/aligning/judge.py says how."""

    num_prompts: Known[Count] = None
    wins: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # by the reward model that is held back
    length_controlled: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # what it would be at equal lengths
    champion_wins: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # by the project's champion, for comparison
    judge_accuracy: Annotated[Share, otherwise(Share)] = field(default_factory=Share)  # of the held-back one, on held-out votes
    kl: Known[Number] = None  # nats a token, from the base, on its own answers
    answers: Annotated[AnswerFigures, otherwise(AnswerFigures)] = field(default_factory=AnswerFigures)
    other: Annotated[AnswerFigures, otherwise(AnswerFigures)] = field(
        default_factory=AnswerFigures
    )  # of what it is compared with


@dataclass(frozen=True)
class GeneratorCard:
    """What is known of one generator version. `probe` is a fixed text and its log-probability, recomputed before it answers."""

    project_id: Annotated[Count, otherwise(int)] = 0
    method: Words = ""
    base: Words = ""  # as GENERATOR_MODEL names it
    answer_prefix: Words = ""  # what each of its answers is given to go on from, and what is no part of it; "" for most methods
    fingerprint: Words = ""  # of these weights, whatever they are called
    num_annotations: int = 0  # of the project, when its judgements were read
    newest_annotation: Known[Count] = None  # the highest id that was read
    newest_change: Known[Text] = None  # when the last of them was made or edited, by Label Studio's clock
    num_pairs: Known[Count] = None  # that it learnt from
    num_prompts: Known[Count] = None  # whose answers were rewarded, if it learnt so
    rewarded_by: Words = ""  # the reward model's version
    num_held_back: Known[Count] = None  # that its judge was trained on
    dropped: Items[Count] = field(default_factory=dict)  # judgements that give no pair, by the reason
    num_steps: Known[Count] = None
    num_wanted_steps: Known[Count] = (
        None  # more than num_steps if ALIGN_MINUTES had no room for all, or fewer led far enough from the base
    )
    margin: Known[Number] = None  # by how much more the chosen answers of the first of its own pairs gained, as a log-probability
    learning_rate: Known[Number] = None
    rank: Known[Count] = None
    scaled_by: Known[Number] = None  # its adapters, after the training, so that it is near enough to its base
    first_layer: Known[Count] = None  # of those that learnt, counted from 0
    seed: Known[Count] = None
    seconds: Items[Number] = field(default_factory=dict)
    metrics: Annotated[GeneratorFigures, otherwise(GeneratorFigures)] = field(default_factory=GeneratorFigures)
    compared_with: Words = ""  # the generator that answered then
    promoted: Known[Flag] = None  # the judge's verdict when this was published
    reason: Words = ""
    probe: Annotated[dict[str, Any], otherwise(dict)] = field(default_factory=dict)  # prompt, answer, log_prob
    version: Words = ""
    created_at: Words = ""
    holdout_fraction: Annotated[Part, otherwise(lambda: 1.0)] = 1.0  # the share of prompts that were held out
    holdout_rule: Annotated[Count, otherwise(lambda: 1)] = 1
    libraries: Items[Text] = field(default_factory=dict)
    promotions: Rows[Promotion] = ()  # when it became the served generator, from promotions.jsonl

    @classmethod
    def read(cls, path: Path, **known: Any) -> Self:
        """The card in a file; what is `known` of it is not taken from the file.

        Raises:
            RegistryError: it is missing or not a card.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values.get("num_annotations"), int):
                raise TypeError
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(
                f"{path} is not a generator's card ({type(error).__name__}); restore it or promote another version."
            ) from error
        return read_as(cls, {**{key: value for key, value in values.items() if key != "promotions"}, **known})

    def published(self, *, version: str, created_at: str) -> Self:
        """A copy that names these."""
        return dataclasses.replace(self, version=version, created_at=created_at)

    def to_json(self) -> str:
        """What its file holds: all but the promotions, which are logged beside it."""
        values: dict[str, Any] = adapter_of(type(self)).dump_python(self)
        return json.dumps({key: value for key, value in values.items() if key != "promotions"}, indent=1, ensure_ascii=False)
