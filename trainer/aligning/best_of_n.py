"""What choosing by rewards would do, without any training: the best of n answers of the served generator, beside one as it comes.

The reward model that chooses is the project's champion; the one that judges is held back (held_back.py). Neither learnt from the prompts
that are answered. The candidates are drawn apart from the answers that they meet: with the same seeds, one of n would meet itself.

Covered: the same rule as for a version (judge.py), on all held-out prompts; one alignment of a project at a time.
Not covered: the distance to the base, of which only a bound is known (arXiv 2401.01879).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filelock import FileLock

from preference.atomic_files import writing
from preference.errors import CannotLearn
from preference.formatting import between, per_cent
from preference.generation.jobs import WrittenAnswers
from preference.labelling.prompts import Prompt, normalised, opening
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE
from preference.report_card.generator_card import GeneratorFigures
from preference.report_card.shares import Share
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.aligning.alignment import ALIGNMENT
from trainer.aligning.examiner import Examiner
from trainer.aligning.judge import AnsweredPrompts, GeneratorVerdict, decide
from trainer.aligning.writing import NUM_ANSWERS, write
from trainer.evaluation.pair_rewards import Scores
from trainer.generator_training.preferences import LEAST_PAIRS, check_engine
from trainer.rounds.context import RoundContext
from trainer.rounds.lock import only_one
from trainer.rounds.reading import Reading, read_pairs

_CANDIDATES = 7  # if NUM_CANDIDATES leaves no choice: as in docs/benchmarks.md
_STRATEGY = "best_vs_random"


@dataclass(frozen=True)
class BestOfN:
    """How often the best of some candidates wins, and what it takes."""

    num_candidates: int
    chosen_by: str  # the reward model's version
    compared_with: str  # the generator that wrote them all
    figures: GeneratorFigures
    verdict: GeneratorVerdict
    num_written: int  # answers to a task, as the settings are
    is_set: bool  # whether the settings have it so already

    def lines(self) -> list[str]:
        """The same in sentences."""
        figures, n = self.figures, self.num_candidates
        settings = f"NUM_CANDIDATES={n} and PAIR_STRATEGY={_STRATEGY}"
        if not self.verdict.promoted:
            advice = f"it is not known to be better: {self.verdict.reason}; the settings may stay as they are"
        elif self.is_set:
            advice = f"{settings} are set already: one of the two answers of a task is the best of {n}"
        else:
            advice = f"set {settings}, and one of the two answers of a task is the best of {n}, the other any"
        return [
            f"the best of {n} answers by {self.chosen_by} wins {_known(figures.wins)} against one answer of {self.compared_with}, "
            f"{_known(figures.length_controlled)} at equal length; on {figures.num_prompts} held-out prompts, by a reward model that is "
            f"right in {_known(figures.judge_accuracy)} of people's votes on them",
            f"{per_cent(figures.answers.repeats)} of them repeat themselves, {per_cent(figures.other.repeats)} of the others; "
            f"{per_cent(figures.answers.cut)} are cut off, {per_cent(figures.other.cut)} of the others",
            f"it takes {n} answers written and scored a task; now NUM_CANDIDATES={self.num_written}",
            advice,
        ]


def measure_best_of_n(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, *, extractors: Extractors, say: Callable[[str], object]
) -> BestOfN:  # fmt: skip
    """Has the served generator write candidates to the held-out prompts, and the champion choose. Nothing is published or set.

    Raises:
        PairloopError: no reward model is served, too few held-out prompts are judged, the engine has no model that can be loaded, Label
            Studio does not answer, or the project is being aligned.
    """
    check_engine(settings.generator)
    context = RoundContext(project, folder, settings, extractors)
    if context.champion is None:
        raise CannotLearn(f"Project {project.id} serves no reward model to choose by; `pairloop-trainer once` trains one.")
    # The second lock tells who asks that nothing learns.
    with only_one(folder, ALIGNMENT), writing(folder.path), FileLock(folder.path / "best_of_n.lock"):
        return _measured(context, context.champion, say)


def best_of(chooser: Scores, prompt: Prompt, written: WrittenAnswers, *, count: int) -> WrittenAnswers:
    """The best of each `count` candidates; an empty one is none, as when tasks are filled."""
    if not written.answers:  # the prompt was refused
        return written
    groups: list[Sequence[int]] = [range(first, first + count) for first in range(0, len(written.answers), count)]
    groups = [[place for place in group if written.answers[place].strip()] or group[:1] for group in groups]
    places = [place for group in groups for place in group]
    rewards = dict(zip(places, chooser.score([prompt] * len(places), [written.answers[place] for place in places]), strict=True))
    best = [max(group, key=lambda place: float(rewards[place])) for group in groups]
    return WrittenAnswers.of([written.each[place] for place in best], version=written.version)


def _measured(context: RoundContext, champion: str, say: Callable[[str], object]) -> BestOfN:
    filling, reading = context.settings.filling, read_pairs(context)
    _check(reading, project_id=context.project.id)
    examiner, chooser = Examiner(context, reading, learnt=()), context.load(champion)
    served, prompts = examiner.served(), examiner.prompts
    name = served.version if served else BASE
    count = filling.num_candidates if filling.num_candidates > NUM_ANSWERS else _CANDIDATES
    say(f"{name} writes {count} candidates, {NUM_ANSWERS} times, to {len(prompts)} held-out prompts, and {champion} chooses")
    candidates = write(examiner.engine, prompts, served, num_answers=NUM_ANSWERS * count, draw="best of n")
    chosen = [best_of(chooser, prompt, written, count=count) for prompt, written in zip(prompts, candidates, strict=True)]
    answered = AnsweredPrompts(prompts, chosen, examiner.written_by(served, prompts))
    figures = examiner.measured(answered, kl=None, champion=None)
    is_set = filling.num_candidates == count and filling.pair_strategy == _STRATEGY
    return BestOfN(count, champion, name, figures, decide(figures, compared_with=name), filling.num_candidates, is_set)


def _check(reading: Reading, *, project_id: int) -> None:
    if reading.layout.ranker is not None:
        raise CannotLearn(
            f"Project {project_id} has lists ordered, which show every answer that differs; best of n is for tasks of two answers."
        )
    judged = {normalised(opening(pair.question)) for pair in reading.holdout}
    if len(judged) < LEAST_PAIRS:
        raise CannotLearn(
            f"{len(judged)} held-out prompts with judgements to judge by, {LEAST_PAIRS} are needed, without ties; judge more."
        )


def _known(share: Share) -> str:
    interval = f" (95 % interval {between(share.interval)})" if share.interval else ""
    return (per_cent(share.value) or "an unknown share") + interval
