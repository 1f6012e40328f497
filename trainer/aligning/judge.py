"""Whether a generator version may answer: its answers beside those of the one that answers now, to held-out prompts, with the same seeds.

A reward model decides which of two answers is better. It is held back: it has seen nothing that this generator learnt from
(held_back.py). It looks at each answer alone, so no side has to be tossed for. The rule, in this order:
1. fewer than LEAST_PROMPTS held-out prompts, or a reward model whose accuracy may be a coin's: kept back, there is no evidence;
2. the win rate at equal length (trainer/evaluation/length_control.py), or the win rate itself, is not above one half beyond noise (its
   95 % interval): kept back;
3. something else broke: more answers repeat themselves, or are cut off, or are like others, or it went farther from the base than
   MOST_KL: kept back, since a reward model can be pleased by what no person would like;
4. otherwise promoted.

Half of the prompts may be enough, and the judge looks at them first. If 1 to 4 promote it by wider intervals there (EARLY_Z), or if its
win rate is below one half, the other half is not written. By Bonferroni's inequality over both looks, one that is no better is promoted
in at most 2.75 of a hundred cases, and not in 2.5. What it costs in power cannot be measured (200,000 simulated judgings by 60 prompts,
two independent answers each): one that wins .6, .65, .7 of the contests is promoted in 26, 69, 95 of a hundred cases, with the first look
and without. It settles 45 of a hundred cases of one that is no better, and 16, 79, 97 of those of one that wins .7, .8, .85.

How many answers refuse is on the card, and decides nothing: it may be what people want.

Covered: a generator that only learnt to be long, one that loops, one that says the same to every prompt.
Not covered: what the held-back reward model likes and people do not; people's own judgement of its answers, which comes after.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from preference.generation.jobs import CUT, WrittenAnswers
from preference.labelling.prompts import Prompt, normalised
from preference.report_card.generator_card import AnswerFigures, GeneratorFigures
from preference.report_card.shares import Share, Z
from trainer.aligning.refusals import refuses
from trainer.evaluation.length_control import Contests, win_rates
from trainer.evaluation.pair_rewards import Scores

LEAST_PROMPTS = 12
EARLY_Z = 2.807034  # of a 99.5 % interval
MOST_KL = 0.3  # nats a token; recipe.py has what was measured. The shorter the answers, the more there is a token
_LEAST_DISTINCT = 0.6  # of an answer's runs of four words; below it, it repeats itself
_RUN = 4
_MORE_REPEATS = 0.03  # than twice as many as before
_MORE_CUT = 0.10  # than before
_FEWER_DISTINCT = 0.10


@dataclass(frozen=True)
class GeneratorVerdict:
    """What the judge says."""

    promoted: bool
    reason: str


@dataclass(frozen=True)
class AnsweredPrompts:
    """What two generators wrote to the same prompts with the same seeds."""

    prompts: Sequence[Prompt]
    new: Sequence[WrittenAnswers]  # two or more answers to each prompt
    other: Sequence[WrittenAnswers]


def measure(
    answered: AnsweredPrompts,
    judge: Scores,
    *,
    champion: Scores | None,
    judge_accuracy: Share,
    kl: float | None,
    seed: int = 0,
    z: float = Z,
) -> GeneratorFigures:
    """All that the verdict goes by. `judge`: the reward model that is held back; `champion`: the project's, for comparison.

    `kl`: None if it is not known. `z`: how wide the intervals of the win rates are, in standard deviations.
    """
    plain, controlled = win_rates(_contests(answered, judge), seed=seed, z=z)
    by_champion = Share() if champion is None else win_rates(_contests(answered, champion), seed=seed, z=z)[0]
    return GeneratorFigures(
        num_prompts=len(answered.prompts),
        wins=plain,
        length_controlled=controlled,
        champion_wins=by_champion,
        judge_accuracy=judge_accuracy,
        kl=None if kl is None else round(kl, 4),
        answers=figures_of(answered.new),
        other=figures_of(answered.other),
    )


def looks(num_prompts: int) -> list[int]:
    """After how many prompts the judge looks: half of them, if that is enough for a verdict, and all."""
    half = (num_prompts + 1) // 2
    return [num_prompts] if half < LEAST_PROMPTS else [half, num_prompts]


def is_settled(metrics: GeneratorFigures, *, compared_with: str) -> bool:
    """Whether the first look is enough. `metrics`: with intervals of EARLY_Z."""
    if _no_evidence(metrics) or decide(metrics, compared_with=compared_with).promoted:
        return True
    return min(_known(metrics.wins.value), _known(metrics.length_controlled.value)) < 0.5


def decide(metrics: GeneratorFigures, *, compared_with: str) -> GeneratorVerdict:
    """The verdict by these figures."""
    if refusal := _no_evidence(metrics) or _not_better(metrics) or _broken(metrics):
        return GeneratorVerdict(False, refusal)
    wins, controlled = metrics.wins, metrics.length_controlled
    return GeneratorVerdict(
        True, f"it wins {_known(controlled.value):.3f} against {compared_with} at equal length ({_interval(controlled)}), "
        f"{_known(wins.value):.3f} as written",
    )  # fmt: skip


def figures_of(written: Sequence[WrittenAnswers]) -> AnswerFigures:
    """What the answers of one generator are like."""
    answers = [answer for answers in written for answer in answers.each]
    if not answers:
        return AnswerFigures()
    copies = Counter(normalised(answer.text) for answer in answers)
    return AnswerFigures(
        num_letters=round(float(np.mean([len(answer.text) for answer in answers])), 1),
        repeats=_share([repeats_itself(answer.text) for answer in answers]),
        cut=_share([answer.finish_reason in CUT for answer in answers]),
        refuses=_share([refuses(answer.text) for answer in answers]),
        distinct=_share([copies[normalised(answer.text)] == 1 for answer in answers]),
    )


def repeats_more(new: AnswerFigures, other: AnswerFigures) -> bool:
    """Whether more than twice as many answers as of the other generator repeat themselves, and three in a hundred more."""
    return _known(new.repeats) > 2 * _known(other.repeats) + _MORE_REPEATS


def repeats_itself(text: str) -> bool:
    """Whether fewer than six in ten of its runs of four words are distinct."""
    words = text.lower().split()
    runs = [tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)]
    return bool(runs) and len(set(runs)) < _LEAST_DISTINCT * len(runs)


def _contests(answered: AnsweredPrompts, model: Scores) -> Contests:
    """Each answer of the one against that of the other with the same seed, and every two of one generator."""
    rewards = _rewards(answered, model)
    outcomes, lengths, is_between, prompts = [], [], [], []
    for place, (new, other) in enumerate(zip(answered.new, answered.other, strict=True)):
        ours = [(rewards[place, text], len(text)) for text in new.answers]
        theirs = [(rewards[place, text], len(text)) for text in other.answers]
        met = [(*pair, True) for pair in zip(ours, theirs, strict=False)]
        met += [(*pair, False) for of_one in (ours, theirs) for pair in combinations(of_one, 2)]
        for first, second, between in met:
            outcomes.append(0.5 + 0.5 * float(np.sign(first[0] - second[0])))
            lengths.append(float(first[1] - second[1]))
            is_between.append(between)
            prompts.append(place)
    return Contests(np.array(outcomes), np.array(lengths), np.array(is_between, dtype=bool), np.array(prompts, dtype=np.int64))


def _rewards(answered: AnsweredPrompts, model: Scores) -> dict[tuple[int, str], float]:
    """The reward of each answer, by its prompt's place and its text."""
    texts = dict.fromkeys(
        (place, text)
        for written in (answered.new, answered.other)
        for place, answers in enumerate(written)
        for text in answers.answers
    )
    if not texts:
        return {}
    scores = model.score([answered.prompts[place] for place, _ in texts], [text for _, text in texts])
    return dict(zip(texts, (float(score) for score in scores), strict=True))


def _no_evidence(metrics: GeneratorFigures) -> str:
    if (metrics.num_prompts or 0) < LEAST_PROMPTS:
        return f"only {metrics.num_prompts or 0} held-out prompts, {LEAST_PROMPTS} are needed"
    accuracy = metrics.judge_accuracy
    if accuracy.value is None or accuracy.interval is None:
        return "no held-out judgement says how good the reward model is that judges it"
    if accuracy.interval[0] <= 0.5:
        return f"the reward model that judges it may be no better than a coin ({accuracy.value:.3f}, {_interval(accuracy)})"
    return ""


def _not_better(metrics: GeneratorFigures) -> str:
    for rate, where in ((metrics.length_controlled, " at equal length"), (metrics.wins, "")):
        if rate.value is None or rate.interval is None:
            return f"its win rate{where} is not known"
        if rate.interval[0] <= 0.5:
            return f"its win rate{where}, {rate.value:.3f}, may be no more than one half ({_interval(rate)})"
    return ""


def _broken(metrics: GeneratorFigures) -> str:
    new, other = metrics.answers, metrics.other
    if repeats_more(new, other):
        return f"{_known(new.repeats):.0%} of its answers repeat themselves, {_known(other.repeats):.0%} before"
    if _known(new.cut) > _known(other.cut) + _MORE_CUT:
        return f"{_known(new.cut):.0%} of its answers are cut off, {_known(other.cut):.0%} before"
    if _known(new.distinct) < _known(other.distinct) - _FEWER_DISTINCT:
        return f"{_known(new.distinct):.0%} of its answers are unlike all others, {_known(other.distinct):.0%} before"
    if math.isnan(_known(metrics.kl)):
        return "how far it is from the base is not known: its distance is no number"
    if _known(metrics.kl) > MOST_KL:
        return f"it is {_known(metrics.kl):.3f} nats a token away from the base, {MOST_KL} at most"
    return ""


def _share(values: Sequence[bool]) -> float:
    return round(float(np.mean(values)), 4)


def _interval(share: Share) -> str:
    low, high = share.interval or (0.0, 1.0)
    return f"95 % interval {low:.3f} to {high:.3f}"


def _known(value: float | None) -> float:
    return 0.0 if value is None else value
