"""What follows a draft that Label Studio does not store: another try, a mark in its task, or nothing, so that no task holds up others."""

from collections import Counter

from backend.filling.answer_rules import UNSTORED, AnswerRules, Draft
from preference.errors import StudioError

_MOST_TRIES = 2  # to store one draft, ten seconds each, before its task is marked
_MOST_UNMARKED = 8  # tasks one after another of which Label Studio stores nothing: it stores nothing at all


class StoreTries:
    """The tries to store the drafts of one stream, each made after its task was read: Label Studio answered that at least."""

    def __init__(self, rules: AnswerRules) -> None:
        self._rules = rules
        self._num_tries: Counter[int] = Counter()  # by task; of those at which Label Studio failed
        self._last_tries: dict[int, Draft] = {}  # by task; once its mark is stored
        self._num_unmarked = 0

    @property
    def are_hopeless(self) -> bool:
        """Whether Label Studio stores nothing at all."""
        return self._num_unmarked >= _MOST_UNMARKED

    def after_failure(self, draft: Draft, error: StudioError) -> Draft | None:
        """What to store after Label Studio failed at a draft, perhaps for a while: the same, then a mark; None to give its task up."""
        task_id = draft.task["id"]
        self._num_tries[task_id] += 1
        if draft.answers and self._num_tries[task_id] < _MOST_TRIES:
            return draft
        if draft.answers and self._num_tries[task_id] > _MOST_TRIES:
            return None
        if draft.answers:
            self._last_tries[task_id] = draft
        return self.after_refusal(draft, error)

    def after_refusal(self, draft: Draft, error: StudioError) -> Draft | None:
        """A mark in place of a draft that Label Studio refused. If it is that, None: the next pass writes the answers again."""
        if draft.answers:
            return self._rules.refusal(draft.task, f"{UNSTORED}: {error}")
        self._num_unmarked += 1
        return None

    def after_store(self, draft: Draft) -> Draft | None:
        """The answers of a task whose mark was stored, to be tried a last time: Label Studio does store something."""
        self._num_unmarked = 0
        return None if draft.answers else self._last_tries.pop(draft.task["id"], None)
