"""The rows of each format: what becomes of judged pairs.

Covered: pairs (`trl`, `csv`), single answers that are good or bad (`kto`), answers to imitate (`sft`), and both answers in one text
(`hindsight`, arXiv 2302.02676), in TRL's names of columns.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

from preference.labelling.pairs import Comparison, PreferencePair, comparison_of, majority
from preference.labelling.prompts import Prompt, Turn, messages, transcript, turns_of
from preference.labelling.task_pairs import Ties
from trainer.judgements.hindsight import BETWEEN, in_hindsight

Format = Literal["trl", "kto", "sft", "hindsight", "prompts", "csv"]
Row = dict[str, Any]
SplitOf = Callable[[PreferencePair], str]

# A tie is the same pair in both directions: without a weight, which TRL does not read, it teaches nothing and costs two rows.
# For `kto`, two bad answers are two bad answers.
TIES: dict[Format, Ties] = {"trl": "drop", "kto": "half", "sft": "half", "hindsight": "drop", "csv": "half"}
_VOTES = ("vote", "ranking")


def rows_of(
    pairs: Sequence[PreferencePair], format_name: Format, *, split_of: SplitOf, excluded: Counter[str],
    conversational: bool = False, chosen: bool = False,
) -> list[Row]:  # fmt: skip
    """The rows of a format. `chosen`: `sft` has the answers that people chose, too. `excluded` counts what becomes no row."""
    if format_name == "kto":
        return _opinions(pairs, excluded, split_of=split_of, conversational=conversational)
    if format_name == "sft":
        texts = [(pair, {"completion": pair.chosen}) for pair in _imitated(pairs, excluded, chosen=chosen)]
    elif format_name == "hindsight":
        texts = [(pair, {"completion": text}) for pair in pairs for text in _in_hindsight(pair)]
    else:
        texts = [(pair, {"chosen": pair.chosen, "rejected": pair.rejected}) for pair in pairs]
    return [
        {
            "prompt": prompt_cell(pair.prompt, conversational=conversational),
            **{column: answer_cell(text, conversational=conversational) for column, text in columns.items()},
            **({"margin": pair.margin, "weight": pair.weight, "kind": pair.kind} if format_name in ("trl", "csv") else {}),
            **_origin(pair, split_of(pair)),
        }
        for pair, columns in texts
    ]


def agreed(pairs: Sequence[PreferencePair], *, least: float, excluded: Counter[str]) -> list[PreferencePair]:
    """The pairs without those comparisons of which a smaller share of the votes than `least` went one way. A tie is no vote."""
    ways: defaultdict[Comparison, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for pair in pairs:
        if pair.kind in _VOTES:
            ways[comparison_of(pair)][pair.chosen] += pair.weight
    doubtful = {comparison for comparison, votes in ways.items() if max(votes.values()) < least * sum(votes.values())}
    kept = [pair for pair in pairs if pair.kind not in _VOTES or comparison_of(pair) not in doubtful]
    if gone := len(pairs) - len(kept):
        excluded["too little agreement"] += gone
    return kept


def one_each(pairs: Sequence[PreferencePair], *, excluded: Counter[str]) -> list[PreferencePair]:
    """One vote for each comparison, as most of its votes went, then what is no vote."""
    votes, others = majority(pairs), [pair for pair in pairs if pair.kind not in _VOTES]
    if gone := len(pairs) - len(others) - len(votes):
        excluded["merged with others, or balanced by them"] += gone
    return [*votes, *others]


def prompt_cell(prompt: Prompt, *, conversational: bool) -> Any:
    """A prompt as a row holds it: its messages, or one text."""
    return messages(turns_of(prompt)) if conversational else transcript(prompt)


def answer_cell(text: str, *, conversational: bool) -> Any:
    """An answer as a row holds it: a list of its one message, or the text."""
    return messages((Turn("assistant", text),)) if conversational else text


def _imitated(pairs: Sequence[PreferencePair], excluded: Counter[str], *, chosen: bool) -> list[PreferencePair]:
    """One pair for each answer that is written, whichever it beat; with `chosen`, also for each that beat one and lost to none."""
    written = [pair for pair in pairs if pair.kind == "written"]
    voted = majority(pairs) if chosen else []
    beaten = {(pair.prompt, pair.rejected) for pair in (*written, *voted)}
    imitated: dict[tuple[Prompt, str], PreferencePair] = {}
    for pair in (*written, *(pair for pair in voted if (pair.prompt, pair.chosen) not in beaten)):
        imitated.setdefault((pair.prompt, pair.chosen), pair)
    lacking = {(pair.task_id, pair.annotation_id) for pair in pairs}
    lacking -= {(pair.task_id, pair.annotation_id) for pair in imitated.values()}
    if lacking and not chosen:
        excluded["without a written answer"] += len(lacking)
    return list(imitated.values())


def _in_hindsight(pair: PreferencePair) -> list[str]:
    """Both answers in one text, in both orders."""
    return [BETWEEN.join(f"{marker}{answer}" for marker, answer in marked) for marked in in_hindsight(pair)]


def _opinions(pairs: Sequence[PreferencePair], excluded: Counter[str], *, split_of: SplitOf, conversational: bool) -> list[Row]:
    """A row for each answer that won more votes than it lost, or lost more than it won. A written one is good."""
    votes: defaultdict[tuple[Prompt, str], list[float]] = defaultdict(lambda: [0.0, 0.0])  # won, lost
    first: dict[tuple[Prompt, str], PreferencePair] = {}
    for pair in pairs:
        won, lost = {"written": (1.0, 0.0), "both_bad": (0.0, 2 * pair.weight), "tie": (0.0, 0.0)}.get(
            pair.kind, (pair.weight,) * 2
        )
        for answer, place, count in ((pair.chosen, 0, won), (pair.rejected, 1, lost)):
            votes[pair.prompt, answer][place] += count
            first.setdefault((pair.prompt, answer), pair)
    rows = []
    for (prompt, answer), (won, lost) in votes.items():
        if won == lost:
            excluded["neither good nor bad"] += 1
            continue
        pair = first[prompt, answer]
        rows.append({
            "prompt": prompt_cell(prompt, conversational=conversational),
            "completion": answer_cell(answer, conversational=conversational),
            "label": won > lost,
            "votes_for": won,
            "votes_against": lost,
            "task_id": pair.task_id or 0,
            "split": split_of(pair),
        })  # fmt: skip
    return rows


def _origin(pair: PreferencePair, split: str) -> Row:
    # If the first 10 MB of a JSON-lines file hold only null in a column, load_dataset (datasets 5.2) refuses what
    # follows, so nothing is null.
    return {
        "task_id": pair.task_id or 0,
        "annotation_id": pair.annotation_id or 0,
        "annotator_id": pair.annotator_id or 0,
        "criteria": pair.criteria,
        "suggested_version": pair.suggested_version or "",
        "judged_at": pair.judged_at or "",
        "guidelines": pair.guidelines or "",
        "split": split,
    }
