"""A new generator before its judge: what is needed for that, put together once, and asked again if another one is served meanwhile."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from preference.errors import PairloopError, TrainingError
from preference.generation.jobs import Adapter, WrittenAnswers
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import transcript
from preference.projects.generators import BASE
from preference.report_card.compared_answers import ComparedAnswers, write_compared
from preference.report_card.generator_card import GeneratorCard, GeneratorFigures
from preference.report_card.shares import Z
from preference.reward_model.model import RewardModel
from trainer.aligning.context import AlignContext
from trainer.aligning.examiner import Examiner
from trainer.aligning.judge import EARLY_Z, MOST_KL, AnsweredPrompts, decide, figures_of, is_settled, looks, repeats_more
from trainer.aligning.writing import distance_to_base, write
from trainer.generator_training.scaling import read_scale, scale_adapters
from trainer.rounds.reading import Reading

logger = logging.getLogger("pairloop.aligning")
# Nats a token, which twenty answers tell to about .02, of adapters that went too far. One at .29 repeated itself in 3.9 % of its answers, and
# scaled to .15 in 2.0 %; it won .86 of the contests with both (recipe.py). One at .24 won .78 when it was scaled to .17, so nothing that need
# not be scaled is.
_AIMED_KL = 0.25
_MOST_SCALINGS = 2


class Trial:
    """One new generator's. `pointed` is what the project's pointer named when it was last judged."""

    def __init__(self, context: AlignContext, reading: Reading, draft: Path, *, learnt: Sequence[PreferencePair]) -> None:
        """`draft`: the folder with the adapters. `learnt`: what they learnt from."""
        self.pointed: str | None = None
        self._context = context
        self._new = Adapter("of this training", draft, context.recipe.answer_prefix)
        self._new_answers: list[WrittenAnswers] = []
        self._distance = 0.0  # from the base, in nats a token
        self._examiner = Examiner(context.round, reading, learnt=[pair.prompt for pair in learnt])

    def judged(self, card: GeneratorCard) -> GeneratorCard:
        """The card with its probe, its figures and the verdict, beside what is served now.

        Raises:
            PairloopError: an answer cannot be written or scored.
        """
        context, prompts = self._context, self._examiner.prompts
        self.pointed = context.generators.champion()
        served = self._examiner.served()
        name = served.version if served else BASE
        other_answers = self._examiner.written_by(served, prompts[: looks(len(prompts))[0]])
        card = self._near_base(card, beside=other_answers)
        context.say(f"judging it beside {name}: answers to {len(prompts)} held-out prompts, or half if that is enough")
        for count in looks(len(prompts)):
            self._answer(count)
            other_answers += self._examiner.written_by(served, prompts[len(other_answers) : count])
            answered = AnsweredPrompts(prompts[:count], self._new_answers[:count], other_answers)
            if count == len(prompts) or is_settled(self._measured(answered, z=EARLY_Z), compared_with=name):
                break
        write_compared(self._new.folder, _compared(answered))
        metrics = self._measured(answered)
        verdict = decide(metrics, compared_with=name)
        return replace(card, metrics=metrics, compared_with=name, promoted=verdict.promoted, reason=verdict.reason)

    def _near_base(self, card: GeneratorCard, *, beside: Sequence[WrittenAnswers]) -> GeneratorCard:
        """The card with its probe, of adapters that the judge would not keep back for how far they went, if scaling them can do that.

        They are measured by their answers to the first prompts, which the judge needs anyway, `beside` those of what is served. Whether
        they win is not looked at.
        """
        engine, first_look = self._examiner.engine, looks(len(self._examiner.prompts))[0]
        for num_left in reversed(range(_MOST_SCALINGS + 1)):
            # Not counted here: a judging before this one may have scaled them, which a kill ended, or a promotion by hand.
            card = replace(card, scaled_by=read_scale(self._new.folder))
            card = replace(card, fingerprint=engine.fingerprint, probe=engine.take_probe(self._new))
            if not math.isfinite(card.probe["log_prob"]):
                raise TrainingError(
                    "What it learnt gives no numbers as probabilities, so it is not published; try DTYPE=float32."
                )
            (self._new.folder / "card.json").write_text(card.to_json(), encoding="utf-8")  # by which the engine knows it
            self._answer(first_look)
            self._distance = distance_to_base(
                engine, self._examiner.prompts[: len(self._new_answers)], self._new_answers, self._new
            )
            repeats = repeats_more(figures_of(self._new_answers), figures_of(beside))
            # What is no number cannot be scaled.
            if not num_left or not (self._distance > MOST_KL or (repeats and self._distance > 0)):
                break
            factor = math.sqrt(_AIMED_KL / max(self._distance, MOST_KL))
            why = ", and repeats itself" if repeats else ""
            logger.info(
                "it is %.2f nats a token away from the base%s, so its adapters are multiplied by %.2f",
                self._distance,
                why,
                factor,
            )
            scale_adapters(self._new.folder, factor)
            self._new = replace(self._new, version=f"{self._new.version}, scaled")  # the engine keeps what it has loaded
            self._new_answers = []
        return card

    def _answer(self, count: int) -> None:
        """Has it answer the next prompts, until so many are answered."""
        if prompts := self._examiner.prompts[len(self._new_answers) : count]:
            self._new_answers += write(self._examiner.engine, prompts, self._new)

    def _measured(self, answered: AnsweredPrompts, *, z: float = Z) -> GeneratorFigures:
        return self._examiner.measured(answered, kl=self._distance, champion=self._champion, z=z)

    @cached_property
    def _champion(self) -> RewardModel | None:
        champion = self._context.round.champion
        try:
            return None if champion is None else self._context.round.load(champion)
        except PairloopError as error:
            logger.warning("the champion %s cannot be loaded, so the card lacks its word: %s", champion, error)
            return None


def _compared(answered: AnsweredPrompts) -> Iterator[ComparedAnswers]:
    for prompt, new, other in zip(answered.prompts, answered.new, answered.other, strict=True):
        yield ComparedAnswers(transcript(prompt), tuple(new.answers), tuple(other.answers))
