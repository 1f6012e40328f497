"""`pairloop-backend import`: a file's prompts become answered and scored tasks, while somebody watches."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from backend.commands.local_generator import local_generator
from backend.commands.progress_bar import Show, bar
from backend.importing.importer import Import
from backend.prompt_files.prompt_file import PromptFile
from preference.errors import PromptFileError
from preference.formatting import plural
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.project import LabelStudioProject


def import_prompts(
    project: LabelStudioProject, settings: Settings, path: Path, *, console: Console, judged: bool = False
) -> None:  # fmt: skip
    """Imports a file's prompts, answered and scored, and prints what became of them.

    `judged`: what the file says of two answers comes as a judgement.

    Raises:
        PromptFileError, StudioError, ModelError, RegistryError: nothing more can be done; a second run goes on.
    """
    folder = ProjectFolder(settings.model_dir, project.id)
    with local_generator(settings, project.id) as bench:
        work = Import.open(project, folder, bench)
        prompts = PromptFile(path, work.layout, judged=judged)
        num_rows, judges, num_predictions = 0, Counter[str](), 0
        for task in prompts:
            num_rows += 1
            judges += work.annotators.names(task.get("annotations", []))
            num_predictions += len(task.get("predictions", []))
        if judged and not judges:
            raise PromptFileError(f"{path} does not say of any two answers which is better; leave out --judged.")
        console.print(f"{path}: {num_rows} {plural(num_rows, 'prompt')}; reading those that project {project.id} holds")
        for name, count in judges.items():
            console.print(f"{count} {plural(count, 'judgement comes', 'judgements come')} along, as {name}")
        if num_predictions:
            console.print(f"{num_predictions} {plural(num_predictions, 'prediction comes', 'predictions come')} along")
        for remark, count in prompts.remarks.items():
            console.print(f"{count} {remark}")
        started = time.monotonic()
        try:
            with bar("prompts imported", console) as show:
                work.run(prompts, on_progress=lambda: _show(work.counts, num_rows, time.monotonic() - started, show))
        finally:
            _print_counts(work.counts, console)


def _show(counts: Counter[str], num_rows: int, seconds: float, show: Show) -> None:
    imported = counts["imported"]
    skipped = sum(count for what, count in counts.items() if what.startswith("skipped"))
    show(imported + skipped, num_rows, answers_per_second=2 * imported / max(seconds, 1e-3))


def _print_counts(counts: Counter[str], console: Console) -> None:
    for what, count in counts.items():
        if what == "imported":
            num_unanswered = sum(number for reason, number in counts.items() if reason.startswith("unanswered"))
            what = f"imported, {count - num_unanswered} of them answered"
        console.print(f"{count} {what}")
