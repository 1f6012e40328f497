"""A <Ranker> over the items of a <List>: the answers that a task holds, and what an order of them says.

Read off the sources of label-studio 1.23.2 (tags/control/Ranker.jsx, tags/object/List.jsx). An item shows its `title`, `body`, `html` and
`id`; its `body` is the answer. Without buckets, a result has the ids of all items, best first, by the control's name. With buckets, it
has the ids in each bucket by the bucket's name, and as "_" those that nobody put into one.

Which of two buckets is better is what their titles say, else their names: English words for good and bad. One that says neither
is not compared with others, nor is "_". Items in one bucket are not compared either: who sorts says nothing of their order.

Covered: ids that are whole numbers, which the editor shows first; several items of one id, of which it shows the last.
Not covered: an order that nobody looked at; the editor submits that which it showed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, Self

from preference.errors import LayoutError
from preference.labelling.config_tags import ConfigTag
from preference.labelling.task_data import shown_text, value_at

MOST_WRITTEN = 5  # answers that are written for one task: people cannot order many
_MOST_ITEMS = 30  # in a list that is read
_LIST = "_"  # the column of what is in no bucket
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")

_GRADES = {
    2: "best excellent perfect great outstanding superb top",
    1: """good better relevant helpful useful correct accurate preferred preferable acceptable accepted accept safe unbiased harmless
        truthful honest appropriate satisfactory satisfying chosen selected winner winners winning liked like high positive pass passed
        keep kept yes strong""",
    0: "ok okay neutral average medium mediocre middle fair borderline mixed moderate so maybe",
    -1: """bad worse poor irrelevant unhelpful useless incorrect inaccurate wrong unacceptable rejected reject unsafe biased harmful toxic
        offensive inappropriate untruthful dishonest hallucinated unsatisfactory disliked dislike loser losers losing low negative fail
        failed discard discarded no weak""",
    -2: "worst terrible awful horrible",
}  # fmt: skip
_KNOWN = {word: float(grade) for grade, words in _GRADES.items() for word in words.split()}
_FACTORS = {
    "very": 1.5, "highly": 1.5, "most": 1.5, "fully": 1.5, "completely": 1.5,
    "somewhat": 0.5, "slightly": 0.5, "partly": 0.5, "partially": 0.5, "marginally": 0.5, "fairly": 0.5,
}  # fmt: skip
_SILENT = {
    "the", "a", "an", "of", "is", "are", "and", "or", "result", "results", "answer", "answers", "response", "responses", "output", "outputs",
    "item", "items", "option", "options", "one", "ones",
}  # fmt: skip


@dataclass(frozen=True)
class Bucket:
    """A place that items can be put into."""

    name: str  # what results hold
    title: str
    grade: float | None  # the better, the higher; None if neither title nor name says how good it is


@dataclass(frozen=True)
class Ranker:
    """A <Ranker>, and where its <List> has the items."""

    name: str
    list_name: str
    items_field: str  # of task data
    buckets: tuple[Bucket, ...] = ()
    first_column: str = ""  # where the editor shows all items before anybody moved one

    @classmethod
    def of(cls, tag: ConfigTag, *, list_name: str, items_field: str) -> Self:
        """The control of this tag.

        Raises:
            LayoutError: no two of its buckets say which is better.
        """
        name, buckets = tag.get("name", ""), [inner for inner in tag.iter("Bucket") if inner.get("name")]
        if not buckets:
            return cls(name, list_name, items_field, first_column=name)
        named = tuple(_bucket(inner.get("name", ""), inner.get("title", "")) for inner in buckets)
        if len({bucket.grade for bucket in named} - {None}) < 2:
            raise LayoutError(
                f'The buckets of <Ranker name="{name}"> do not say which is better; give two of them titles such as "Good answers" and '
                '"Bad answers", or remove all of them, so that people order the whole list.'
            )
        default = next((inner.get("name", "") for inner in buckets if inner.get("default") == "true"), _LIST)
        return cls(name, list_name, items_field, named, default)

    def texts(self, task_data: Mapping[str, Any]) -> dict[str, str | None]:
        """The answers by their ids, in the order in which the editor shows them first; None for an item without a text.

        Empty if the list is missing, empty, or so long that it is not read.
        """
        held = value_at(task_data, self.items_field)
        items = [item for item in held if isinstance(item, Mapping)] if isinstance(held, list) else []
        texts = {_id(item): _text(item.get("body")) for item in items}
        numbers = sorted(filter(_NUMBER.fullmatch, texts), key=int)  # of an object's keys, JavaScript lists these first
        return {key: texts[key] for key in [*numbers, *texts]} if len(texts) <= _MOST_ITEMS else {}

    def is_empty(self, task_data: Mapping[str, Any]) -> bool:
        """Whether the list holds nothing at all, so that answers may be put there."""
        return not value_at(task_data, self.items_field)

    def ranking(self, task_data: Mapping[str, Any], rewards: Sequence[float]) -> dict[str, list[str]]:
        """The task's items by falling reward, as a prediction's value has them. `rewards`: one an answer, in the order of `texts`."""
        placed = sorted(zip(self.texts(task_data), rewards, strict=True), key=lambda item: -item[1])
        return {self.first_column: [key for key, _ in placed]}

    def order(self, value: Mapping[str, Any]) -> list[str]:
        """The ids in the order that `ranking` gave them."""
        return _texts_of(value.get(self.first_column))

    def grades(self, value: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """The ids in groups, each of which is better than those after it; nothing is said of two that are in one group."""
        if not self.buckets:
            return tuple((key,) for key in dict.fromkeys(_texts_of(value.get(self.name))))
        by_grade: dict[float, dict[str, None]] = {}
        for bucket in self.buckets:
            if bucket.grade is not None:
                by_grade.setdefault(bucket.grade, {}).update(dict.fromkeys(_texts_of(value.get(bucket.name))))
        return tuple(tuple(ids) for _, ids in sorted(by_grade.items(), reverse=True) if ids)


def list_tag(tags: Sequence[ConfigTag], ranker: ConfigTag) -> ConfigTag:
    """The <List> that a <Ranker> orders.

    Raises:
        LayoutError: it orders none.
    """
    control, name = ranker.get("name", ""), ranker.get("toname", "").strip()
    tag = next((tag for tag in tags if tag.tag == "List" and name and tag.get("name") == name), None)
    if not control or tag is None:
        raise LayoutError(
            f'<Ranker name="{control}" toName="{name}"> must have a name and order the items of a <List>, '
            'such as <List name="answers" value="$items"/> and <Ranker name="rank" toName="answers"/>.'
        )
    return tag


def items_of(texts: Sequence[str]) -> list[dict[str, str]]:
    """The items that show these answers. Their ids are letters: numbers would be shown in their own order."""
    return [
        {"id": letter, "title": f"Answer {letter.upper()}", "body": text}
        for letter, text in zip(ascii_lowercase, texts, strict=False)
    ]


def _bucket(name: str, title: str) -> Bucket:
    grade = _grade(title)
    return Bucket(name, title or name, _grade(name) if grade is None else grade)


def _grade(text: str) -> float | None:
    """How good items are that a text says this of, -2..2 or a little more; None if it does not say so, or says two things."""
    grades, factor, is_negated = set(), 1.0, False
    for word in re.findall(r"[^\W_]+", text.casefold()):
        if word in ("not", "non"):
            is_negated = True
        elif word in _FACTORS:
            factor = _FACTORS[word]
        elif word in _KNOWN:
            grades.add(_KNOWN[word])
        elif word not in _SILENT:
            return None
    if len(grades) != 1:
        return None
    (grade,) = grades
    if is_negated:  # "not bad" may be good, and "not very good" may be anything
        return -1.0 if grade == 1 and factor == 1 else None
    return grade * factor


def _id(item: Mapping[str, Any]) -> str:
    """An item's id, as JavaScript's String(id) has it."""
    if "id" not in item:
        return "undefined"
    return "null" if item["id"] is None else shown_text(item["id"]) or ""


def _text(body: Any) -> str | None:
    """What React shows of an item's body; None for all but texts and numbers."""
    return shown_text(body) if isinstance(body, str | int | float) and not isinstance(body, bool) else None


def _texts_of(held: Any) -> list[str]:
    return [text for text in held if isinstance(text, str)] if isinstance(held, list) else []
