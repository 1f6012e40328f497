"""A new generator before its judge: what is needed for that, put together once, and asked again if another one is served meanwhile."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from preference.errors import PairloopError, RegistryError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, WrittenAnswers
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import transcript
from preference.models.pretrained import locate
from preference.projects.generators import BASE
from preference.report_card.compared_answers import ComparedAnswers, write_compared
from preference.report_card.generator_card import GeneratorCard, GeneratorFigures
from preference.report_card.shares import Share, Z
from preference.reward_model.model import RewardModel
from trainer.aligning.context import AlignContext
from trainer.aligning.held_back import HeldBackJudge
from trainer.aligning.judge import EARLY_Z, AnsweredPrompts, decide, is_settled, looks, measure
from trainer.aligning.writing import distance_to_base, held_out_prompts, write
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import once_each, score_pairs
from trainer.rounds.reading import Reading
from trainer.training.frozen_head import feature_recipe
from trainer.training.recipes import FROZEN

logger = logging.getLogger("pairloop.aligning")


class Trial:
    """One new generator's. `pointed` is what the project's pointer named when it was last judged."""

    def __init__(
        self, context: AlignContext, reading: Reading, layout: LabelingLayout, draft: Path, *, learnt: Sequence[PreferencePair]
    ) -> None:
        """`draft`: the folder with the adapters. `learnt`: what they learnt from."""
        self.pointed: str | None = None
        self._context, self._reading = context, reading
        self._new = Adapter("of this training", draft, context.recipe.answer_prefix)
        self._new_answers: list[WrittenAnswers] = []
        self._engine = HuggingFaceGenerator(context.settings)
        self._prompts = held_out_prompts(
            context.round.project,
            layout,
            context.round.holdout,
            judged=[pair.prompt for pair in reading.pairs],
            learnt=[pair.prompt for pair in learnt],
        )

    def judged(self, card: GeneratorCard) -> GeneratorCard:
        """The card with its probe, its figures and the verdict, beside what is served now.

        Raises:
            PairloopError: an answer cannot be written or scored.
        """
        context, engine = self._context, self._engine
        self.pointed = context.generators.champion()
        card = replace(card, fingerprint=engine.fingerprint, probe=engine.take_probe(self._new))
        (self._new.folder / "card.json").write_text(card.to_json(), encoding="utf-8")  # by which the engine knows it
        served = self._served()
        name = served.version if served else BASE
        context.say(f"judging it beside {name}: answers to {len(self._prompts)} held-out prompts, or half if that is enough")
        other_answers: list[WrittenAnswers] = []
        for count in looks(len(self._prompts)):
            self._write(self._new_answers, self._new, count)
            self._write(other_answers, served, count)
            answered = AnsweredPrompts(self._prompts[:count], self._new_answers[:count], other_answers)
            if count == len(self._prompts) or is_settled(self._measured(answered, z=EARLY_Z), compared_with=name):
                break
        write_compared(self._new.folder, _compared(answered))
        metrics = self._measured(answered)
        verdict = decide(metrics, compared_with=name)
        return replace(card, metrics=metrics, compared_with=name, promoted=verdict.promoted, reason=verdict.reason)

    def _write(self, written: list[WrittenAnswers], adapter: Adapter | None, count: int) -> None:
        """Adds the answers to the next prompts, until so many are answered."""
        if prompts := self._prompts[len(written) : count]:
            written += write(self._engine, prompts, adapter)

    def _measured(self, answered: AnsweredPrompts, *, z: float = Z) -> GeneratorFigures:
        return measure(
            answered, self._judge, champion=self._champion, judge_accuracy=self._judge_accuracy, kl=self._distance,
            seed=self._context.settings.seed, z=z,
        )  # fmt: skip

    @cached_property
    def _distance(self) -> float:
        written = self._new_answers
        return distance_to_base(self._engine, self._prompts[: len(written)], written, self._new)

    @cached_property
    def _judge(self) -> HeldBackJudge:
        settings, extractors = self._context.settings, self._context.round.extractors
        base = settings.training.reward_base
        features = feature_recipe(FROZEN, base=base, path=locate(base, settings.model_dir))
        return HeldBackJudge(self._reading.votes, extractors(features))

    @cached_property
    def _judge_accuracy(self) -> Share:
        right = score_pairs(self._judge, self._reading.holdout).right
        return share(once_each(right, self._reading.holdout))

    @cached_property
    def _champion(self) -> RewardModel | None:
        champion = self._context.round.champion
        try:
            return None if champion is None else self._context.round.load(champion)
        except PairloopError as error:
            logger.warning("the champion %s cannot be loaded, so the card lacks its word: %s", champion, error)
            return None

    def _served(self) -> Adapter | None:
        """What answers now; the base if the promoted version does not fit it, as it then does in the backend."""
        try:
            served = self._context.generators.served()
            if served is not None:
                self._engine.check(served)
        except (PairloopError, RegistryError) as error:
            logger.warning("%s It is judged beside the base.", error)
            return None
        return served


def _compared(answered: AnsweredPrompts) -> Iterator[ComparedAnswers]:
    for prompt, new, other in zip(answered.prompts, answered.new, answered.other, strict=True):
        yield ComparedAnswers(transcript(prompt), tuple(new.answers), tuple(other.answers))
