"""Whose an imported judgement becomes, as Label Studio's own import decides it; it refuses annotators that it does not know."""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from preference.studio.account import Account
from preference.studio.task import Annotation, Task


class Annotators:
    """The accounts of one Label Studio; it is asked for them at the first judgement."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def annotations_of(self, task: Task) -> list[Annotation]:
        """The task's annotations, each of an account that there is: the one that the file names, or else that of our key."""
        return [self._resolved(annotation) for annotation in task.get("annotations", [])]

    def names(self, annotations: Iterable[Annotation]) -> Counter[str]:
        """How many of them each account gets."""
        return Counter(self._name(self._number(annotation.get("completed_by"))) for annotation in annotations)

    @cached_property
    def _emails(self) -> dict[int, str]:
        return self._account.members()

    @cached_property
    def _own(self) -> str:
        return f"{self._account.name()}, the account of LABEL_STUDIO_API_KEY"

    def _name(self, number: int | None) -> str:
        return self._own if number is None else self._emails[number]

    def _number(self, who: Any) -> int | None:
        """`who`: an account's number or its email address, or an object with both."""
        if isinstance(who, dict):
            who = who.get("email") or who.get("id")
        if isinstance(who, str):
            found = (number for number, email in self._emails.items() if who in (email, str(number)))
            return next(found, None)
        return who if isinstance(who, int) and not isinstance(who, bool) and who in self._emails else None

    def _resolved(self, annotation: Annotation) -> Annotation:
        number = self._number(annotation.get("completed_by"))
        kept: Annotation = {**annotation}
        kept.pop("completed_by", None)
        return kept if number is None else {**kept, "completed_by": number}
