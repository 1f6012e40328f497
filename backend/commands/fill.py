"""Work on one project while somebody watches: `pairloop-backend fill` and `import`."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from backend.commands.progress_bar import Show, bar
from backend.filling.progress import ended_pass
from backend.filling.project_pass import ProjectPass
from backend.generators.engines import ENGINES
from backend.generators.scheduler import Scheduler
from backend.importing.importer import Import
from backend.importing.prompt_file import PromptFile
from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, Champions
from preference.errors import ModelError, RegistryError
from preference.labelling.label_config import LabelingLayout
from preference.models.pretrained import pick_device, quiet_transformers
from preference.projects.folder import ProjectFolder, known_projects
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

_EVERY_SECONDS = 0.5


def fill(project: LabelStudioProject, settings: Settings, *, console: Console, stall_seconds: float = 15.0) -> None:
    """Answers and scores the project's open tasks here, or follows the backend that fills on this MODEL_DIR already.

    A project that is disconnected stays so. `stall_seconds`: after that a backend that tells nothing of any project has given up.

    Raises:
        StudioError, ModelError: nothing more can be done.
        RegistryError: another process fills, and leaves out this project, which is disconnected.
    """
    folder = ProjectFolder(settings.model_dir, project.id)
    folder.create()
    layout = LabelingLayout.from_label_config(project.read()["label_config"])
    num_open = project.num_unanswered(layout)
    console.print(f"project {project.id}: {num_open} tasks lack an answer")
    before, is_told = ended_pass(folder.read_progress()), False
    with bar("tasks answered", console) as show:
        while True:
            try:
                with FileLock(settings.model_dir / "filler.lock").acquire(timeout=0):
                    _fill_here(folder, settings, show)
                break
            except Timeout:
                if not num_open:
                    break
                if folder.is_disconnected:
                    raise RegistryError(
                        f"Project {project.id} is disconnected, so the backend that fills on MODEL_DIR={settings.model_dir} leaves it "
                        f"out; connect it again (pairloop-backend connect --project {project.id}), or stop that backend meanwhile."
                    ) from None
            if not is_told:
                console.print("a backend fills on this MODEL_DIR already: this is how far it is")
                folder.request("fill")
                is_told = True
            has_ended = _is_followed_to_the_end(folder, before, show, settings.model_dir, stall_seconds)
            progress = folder.read_progress()
            # A filler that finds tasks answered by hand writes nothing; a pass that ends may have begun before tasks were added.
            if has_ended or not _is_new(progress, before):
                num_open = project.num_unanswered(layout)
            if has_ended:
                if num_open <= sum(progress["tasks_failed"].values()):
                    break
                folder.request("fill")
    failed = folder.read_progress().get("tasks_failed") if num_open else None
    if failed:
        reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(failed.items()))
        console.print(f"tasks left unanswered: {reasons}")


def import_prompts(project: LabelStudioProject, settings: Settings, path: Path, *, console: Console) -> None:
    """Imports a file's prompts, answered and scored, and prints what became of them.

    Raises:
        PromptFileError, StudioError, ModelError, RegistryError: nothing more can be done; a second run goes on.
    """
    folder = ProjectFolder(settings.model_dir, project.id)
    with _generating(folder, settings) as (champion, scheduler, _):
        work = Import(project, folder, settings, champion=champion, scheduler=scheduler)
        prompts = PromptFile(path, work.layout)
        num_rows = len(prompts)
        console.print(f"{path}: {num_rows} prompts; reading those that project {project.id} holds")
        started = time.monotonic()
        try:
            with bar("prompts imported", console) as show:
                work.run(prompts, moved=lambda: _show_import(work, num_rows, started, show))
        finally:
            _print_counts(work.counts, console)


def _fill_here(folder: ProjectFolder, settings: Settings, show: Show) -> None:
    before = ended_pass(folder.read_progress())
    with _generating(folder, settings) as (champion, scheduler, metrics), ThreadPoolExecutor(1) as pool:
        project = LabelStudioProject(settings, folder.project_id, stop=scheduler.stopping)

        def visit() -> None:
            is_done = False
            while not is_done and not scheduler.is_stopped:
                visit = ProjectPass(project, folder, settings, champion=champion, scheduler=scheduler, metrics=metrics)
                is_done = visit.run(lambda: scheduler.is_stopped, has_new_version=False)

        visiting = pool.submit(visit)
        try:
            while not visiting.done():
                _show_progress(folder, before, show)
                champion.refresh()  # the visit leaves where another version is promoted, and the next scores by that
                time.sleep(_EVERY_SECONDS)
        finally:
            scheduler.stop()  # after Ctrl-C the visit ends what it is storing
        _show_progress(folder, before, show)
        visiting.result()


def _is_followed_to_the_end(folder: ProjectFolder, before: int | None, show: Show, model_dir: Path, stall_seconds: float) -> bool:
    """Shows how far another process is for some seconds; whether a pass that ended after the pass `before` left nothing to do.

    Raises:
        ModelError: it has given up.
    """
    for _ in range(4):
        progress = _show_progress(folder, before, show)
        if progress and not progress["is_filling"]:
            if progress["tasks_left"] == 0:
                return True
            if _is_at_rest(model_dir, stall_seconds):
                raise ModelError(f"The backend's filler stopped with {progress['tasks_left']} tasks left; its log says why.")
        time.sleep(_EVERY_SECONDS)
    return False


def _is_at_rest(model_dir: Path, seconds: float) -> bool:
    """Whether nothing was told of any project for that long: between two turns of one come those of the others."""
    told = [progress for folder in known_projects(model_dir) if (progress := folder.read_progress())]
    return all(not progress["is_filling"] and time.time() > progress["at"] + seconds for progress in told)


def _show_progress(folder: ProjectFolder, before: int | None, show: Show) -> dict[str, Any]:
    """The progress of a pass that did not end with the pass `before`; empty until there is one."""
    progress = folder.read_progress()
    if not _is_new(progress, before):
        return {}
    done = progress["tasks_answered"] + sum(progress["tasks_failed"].values())
    show(done, done + progress["tasks_left"], answers_per_second=progress["answers_per_second"])
    return progress


def _is_new(progress: dict[str, Any], before: int | None) -> bool:
    """Whether a pass wrote it that is under way, or that ended after the pass `before`."""
    return bool(progress) and (ended_pass(progress) is None or ended_pass(progress) != before)


def _show_import(work: Import, num_rows: int, started: float, show: Show) -> None:
    imported = work.counts["imported"]
    skipped = sum(count for what, count in work.counts.items() if what.startswith("skipped"))
    show(imported + skipped, num_rows, answers_per_second=2 * imported / max(time.monotonic() - started, 1e-3))


def _print_counts(counts: Counter[str], console: Console) -> None:
    for what, count in counts.items():
        if what == "imported":
            num_unanswered = sum(number for reason, number in counts.items() if reason.startswith("unanswered"))
            what = f"imported, {count - num_unanswered} of them answered"
        console.print(f"{count} {what}")


@contextmanager
def _generating(folder: ProjectFolder, settings: Settings) -> Iterator[tuple[Champion, Scheduler, Metrics]]:
    """The served model, and a scheduler whose thread runs for the time of the `with`."""
    torch.set_num_threads(settings.num_torch_threads)
    quiet_transformers()
    champion = Champions(settings.model_dir, device=pick_device(settings.device)).of(folder.project_id)
    champion.refresh()
    metrics = Metrics()
    scheduler = Scheduler(lambda: ENGINES[settings.generator.engine](settings), metrics)
    thread = threading.Thread(target=scheduler.run, name="generator", daemon=True)
    thread.start()
    try:
        yield champion, scheduler, metrics
    finally:
        scheduler.stop()
        thread.join(10)
