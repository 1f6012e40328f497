"""Who judges answers to held-out prompts: the reward model that is held back, the prompts, and what answers them now."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property

from preference.errors import PairloopError, RegistryError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, WrittenAnswers
from preference.labelling.prompts import Prompt, transcript
from preference.models.pretrained import locate
from preference.projects.generators import Generators
from preference.report_card.generator_card import GeneratorFigures
from preference.report_card.shares import Share, Z
from preference.reward_model.model import RewardModel
from trainer.aligning.held_back import HeldBackJudge
from trainer.aligning.judge import AnsweredPrompts, measure
from trainer.aligning.kept_answers import KeptAnswers, key_of
from trainer.aligning.writing import held_out_prompts, write
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import once_each, score_pairs
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading
from trainer.training.frozen_head import feature_recipe
from trainer.training.recipes import FROZEN

logger = logging.getLogger("pairloop.aligning")


class Examiner:
    """One project's. What costs time is done once, when it is first asked for."""

    def __init__(self, context: RoundContext, reading: Reading, *, learnt: Iterable[Prompt]) -> None:
        """`learnt`: prompts that something to be judged learnt from.

        Raises:
            StudioError: Label Studio does not answer, or refuses.
        """
        self._context, self._reading = context, reading
        self.engine = HuggingFaceGenerator(context.settings)
        self.prompts = held_out_prompts(
            context.project, reading.layout, reading.holds_out, judged=[pair.prompt for pair in reading.pairs], learnt=learnt
        )

    def served(self) -> Adapter | None:
        """What answers now; the base if the promoted version does not fit it, as it then does in the backend."""
        try:
            served = Generators(self._context.folder).served()
            if served is not None:
                self.engine.check(served)
        except (PairloopError, RegistryError) as error:
            logger.warning("%s The base is taken in its place.", error)
            return None
        return served

    def written_by(self, served: Adapter | None, prompts: Sequence[Prompt]) -> list[WrittenAnswers]:
        """The answers of what `served` gave to some of the prompts, in order; those of an earlier judging are not written again.

        Raises:
            ModelError: the model failed, or cannot use the adapter.
        """
        folder, key = self._context.folder.path, key_of(self._context.settings, served, fingerprint=self.engine.fingerprint)
        kept = KeptAnswers.read(folder, key)
        missing = [prompt for prompt in prompts if kept.find(prompt) is None]
        if len(missing) < len(prompts):
            logger.info(
                "of %d prompts, %d were answered in an earlier judging, whose answers are taken",
                len(prompts),
                len(prompts) - len(missing),
            )
        new = write(self.engine, missing, served)
        if any(answers.answers for answers in new):
            kept.with_new(missing, new, among=self.prompts).write(folder)
        written = dict(zip(map(transcript, missing), new, strict=True))
        return [kept.find(prompt) or written[transcript(prompt)] for prompt in prompts]

    def measured(
        self, answered: AnsweredPrompts, *, kl: float | None, champion: RewardModel | None, z: float = Z
    ) -> GeneratorFigures:
        """The figures of these answers; the arguments are `measure`'s."""
        return measure(
            answered, self._judge, champion=champion, judge_accuracy=self._judge_accuracy, kl=kl, seed=self._context.settings.seed,
            z=z,
        )  # fmt: skip

    @cached_property
    def _judge(self) -> HeldBackJudge:
        settings, extractors = self._context.settings, self._context.extractors
        base = settings.training.reward_base
        features = feature_recipe(FROZEN, base=base, path=locate(base, settings.model_dir))
        return HeldBackJudge(self._reading.votes, extractors(features))

    @cached_property
    def _judge_accuracy(self) -> Share:
        right = score_pairs(self._judge, self._reading.holdout).right
        return share(once_each(right, self._reading.holdout))
