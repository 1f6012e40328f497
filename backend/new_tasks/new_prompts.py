"""Prompts that annotators write: each becomes a task, which the filler answers like any other.

They stand in a <TextArea> named `new_prompt`. The meta of the new task names the judgement and the annotator that it comes from.

Covered: a prompt that the project holds, or that several people write, makes no second task; a person makes so many at most; a process
that is killed between making tasks and noting that; a task that Label Studio refuses, which keeps no other.
Not covered: two processes that take prompts at once, which the filler's lock excludes; a person's count after MODEL_DIR was lost.
"""

import json
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from preference.atomic_files import write_whole
from preference.errors import StudioError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import normalised
from preference.labelling.results import written_text
from preference.labelling.task_pairs import annotator_of
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

logger = logging.getLogger("pairloop.filling")
META_KEY = "pairloop_new_prompt"
_OVERLAP = timedelta(minutes=1)  # transactions end out of order
_EVER = datetime.fromtimestamp(0, UTC)


def take_new_prompts(project: LabelStudioProject, folder: ProjectFolder, layout: LabelingLayout, *, most_a_person: int) -> int:
    """The number of tasks made of prompts that annotators wrote. `folder` keeps how far it has looked, and how many each one made.

    Raises:
        StudioError: Label Studio cannot be read or written; the next pass goes on.
    """
    if layout.new_prompt is None or layout.prompt_field is None:
        return 0
    path = folder.path / "new_prompts"
    before = _Looked.read(path)
    latest, written = before.until, list[tuple[str, Task]]()
    for judged in project.judged_since(before.until):
        latest = max(latest, judged["updated_at"])
        for annotation in judged["annotations"]:
            text = written_text(annotation.get("result"), layout.new_prompt)
            if text is not None and not annotation.get("was_cancelled"):
                origin = {"from_task": judged["id"], "annotation": annotation["id"], "annotator": annotator_of(annotation)}
                data = layout.with_prompt(dict.fromkeys(layout.context_fields, ""), text.strip())
                written.append((text, {"data": layout.task_data(data), "meta": {META_KEY: origin}}))
    made, num_made = Counter(before.made), 0
    known = {normalised(layout.prompt(task["data"]) or "") for task in project.all_tasks()} if written else set()
    for text, task in written:
        who = str(task["meta"][META_KEY]["annotator"])
        if normalised(text) in known:
            continue
        if made[who] >= most_a_person:
            logger.warning(
                "project %d: annotator %s wrote more than NEW_PROMPTS_A_PERSON=%d prompts", project.id, who, most_a_person
            )
            continue
        try:
            project.import_tasks([task])
        except StudioError as error:
            if not error.is_of_one_call:
                _Looked(before.until, dict(made)).write(path)
                raise
            logger.warning("project %d: a prompt that annotator %s wrote makes no task: %s", project.id, who, error)
            continue
        known.add(normalised(text))
        made[who] += 1
        num_made += 1
    # What changed within this minute is read again for a minute, and no longer.
    settled = max(before.until, latest - _OVERLAP, min(latest, datetime.now(UTC) - _OVERLAP))
    if (after := _Looked(settled, dict(made))) != before:
        after.write(path)
    return num_made


@dataclass(frozen=True)
class _Looked:
    """Up to which moment of Label Studio's clock all prompts are known, and how many tasks each annotator made."""

    until: datetime = _EVER
    made: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote; from the beginning without it."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            made = {str(who): int(number) for who, number in values["made"].items()}
            return cls(datetime.fromisoformat(values["until"]).astimezone(UTC), made)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls()

    def write(self, path: Path) -> None:
        """If it cannot be written, the same judgements are read again."""
        with suppress(OSError):
            write_whole(path, json.dumps({"until": self.until.isoformat(), "made": self.made}), is_durable=False)
