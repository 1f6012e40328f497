"""`pairloop-backend fill`: a project's open tasks are answered and scored, while somebody watches."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from backend.commands.progress_bar import Show, bar
from backend.filling.progress import ended_pass
from preference.errors import ModelError, RegistryError
from preference.formatting import plural
from preference.heavy_imports import lean_imports
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.layouts import Layout, layout_of
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.problems import read_problems
from preference.projects.status_files import Filling
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

_MANY = 100  # tasks, from which on the other way is worth a line


def fill(
    project: LabelStudioProject,
    settings: Settings,
    *,
    console: Console,
    stall_seconds: float = 15.0,
    every_seconds: float = 0.5,
) -> None:
    """Answers and scores the project's open tasks here, or follows the backend that fills on this MODEL_DIR already.

    A disconnected project stays disconnected. `stall_seconds`: a backend that made no progress in any project for so long has
    given up. `every_seconds`: how often it looks.

    Raises:
        StudioError, ModelError: nothing more can be done.
        RegistryError: another process fills, and skips this project, which is disconnected.
    """
    folder = ProjectFolder(settings.model_dir, project.id)
    folder.create()
    layout = layout_of(project.read()["label_config"])
    num_open = num_lacking = _num_unanswered(project, folder, layout)
    console.print(f"project {project.id}: {num_open} {plural(num_open, 'task lacks', 'tasks lack')} an answer")
    if num_open >= _MANY and not isinstance(layout, DemonstrationLayout):
        console.print("prompts that Label Studio does not hold yet cost it less than a tenth of that by pairloop-backend import")
    has_asked = False
    with bar("tasks answered", console) as show:
        watched = _Watched(folder, show, before=ended_pass(Filling.read(folder.path)), every_seconds=every_seconds)
        while True:
            try:
                # Not 0: somebody may only be asking whether a filler works.
                with FileLock(settings.model_dir / "filler.lock").acquire(timeout=0.2):
                    _fill_here(watched, settings)
                break
            except Timeout:
                if not num_open:
                    break
                if folder.is_disconnected:
                    raise RegistryError(
                        f"Project {project.id} is disconnected, so the backend that fills on MODEL_DIR={settings.model_dir} skips "
                        f"it; connect it again (pairloop-backend connect --project {project.id}), or stop that backend meanwhile."
                    ) from None
            if not has_asked:
                console.print("a backend fills on this MODEL_DIR already: this is how far it is")
                folder.request("fill")
                has_asked = True
            has_ended = _is_followed_to_the_end(watched, settings.model_dir, stall_seconds)
            progress = watched.progress()
            # A filler that finds tasks answered by hand writes nothing; a pass that ends may have begun before tasks were added.
            if has_ended or progress is None:
                num_open = _num_unanswered(project, folder, layout)
            if has_ended:
                if progress is not None and num_open <= sum(progress.tasks_failed.values()):
                    break
                folder.request("fill")
    last = Filling.read(folder.path)
    failed = last.tasks_failed
    if num_lacking and last.answers_cut:
        console.print(f"answers that were cut off: {last.answers_cut}; a larger MAX_NEW_TOKENS lets them end")
    if num_open and failed:
        reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(failed.items()))
        console.print(f"tasks without answers: {reasons}")


def _num_unanswered(project: LabelStudioProject, folder: ProjectFolder, layout: Layout) -> int:
    if isinstance(layout, DemonstrationLayout):
        return project.num_open(unscored_by=Versions(folder).champion() or UNTRAINED)
    return project.num_unanswered(layout)


@dataclass(frozen=True)
class _Watched:
    """A project whose filling somebody watches."""

    folder: ProjectFolder
    show: Show
    before: int | None  # the pass that had ended before; what it wrote is old
    every_seconds: float  # from one look to the next

    def progress(self) -> Filling | None:
        """The progress of the pass that is under way, or that has ended since; None if there is none."""
        progress = Filling.read(self.folder.path)
        is_old = not progress.is_filling and ended_pass(progress) == self.before
        return None if is_old or progress.at is None else progress

    def look(self) -> Filling | None:
        """The same; shows it on the bar."""
        progress = self.progress()
        if progress is not None:
            done = (progress.tasks_answered or 0) + sum(progress.tasks_failed.values())
            self.show(done, done + (progress.tasks_left or 0), answers_per_second=progress.answers_per_second or 0.0)
        return progress


def _fill_here(watched: _Watched, settings: Settings) -> None:
    # Only here: torch, which takes seconds, is of no use to those who follow a backend.
    with lean_imports():
        from backend.commands.local_generator import local_generator
        from backend.filling.project_pass import open_pass
        from backend.filling.shown_version import ShownVersion

    project_id = watched.folder.project_id
    with local_generator(settings, project_id) as bench, ThreadPoolExecutor(1) as pool:
        project = LabelStudioProject.for_daemon(settings.studio, project_id, stop=bench.scheduler.stopping)

        def fill_all() -> None:
            is_done, shown = False, ShownVersion(is_sure=True)
            while not is_done and not bench.scheduler.is_stopped:
                opened = open_pass(project, watched.folder, shown, bench)
                is_done = opened.run(lambda: bench.scheduler.is_stopped, has_new_version=False).is_done

        filling = pool.submit(fill_all)
        try:
            while not filling.done():
                watched.look()
                bench.champions.of(project_id).refresh()  # a pass ends if another version is promoted; the next scores by that
                wait([filling], watched.every_seconds)
        finally:
            bench.stop()  # after Ctrl-C the pass ends what it is storing
        watched.look()
        filling.result()


def _is_followed_to_the_end(watched: _Watched, model_dir: Path, stall_seconds: float) -> bool:
    """Shows for four looks how far another process is. Returns whether a pass has ended, with nothing more to answer.

    Raises:
        ModelError: it has given up.
    """
    for _ in range(4):
        progress = watched.look()
        if progress is not None and not progress.is_filling:
            if progress.tasks_left == 0:
                return True
            if _is_at_rest(model_dir, stall_seconds):
                noted = _noted(watched, model_dir)
                reason = f": {'; '.join(noted)}" if noted else "; its log says why"
                raise ModelError(f"The backend's filler stopped with {progress.tasks_left} tasks unanswered{reason}.")
        elif progress is None and (noted := _noted(watched, model_dir)) and _is_at_rest(model_dir, stall_seconds):
            raise ModelError(f"The backend's filler makes no pass over the project: {'; '.join(noted)}.")
        time.sleep(watched.every_seconds)
    return False


def _noted(watched: _Watched, model_dir: Path) -> list[str]:
    """What is wrong with the project, as the processes on MODEL_DIR found it."""
    return [problem.rstrip(".") for problem in read_problems(model_dir).get(watched.folder.project_id, [])]


def _is_at_rest(model_dir: Path, seconds: float) -> bool:
    """Whether the filler wrote no progress for so long, of any project, since projects take turns."""
    written = [_written(folder) for folder in known_projects(model_dir)]
    return all(not progress.is_filling and time.time() > (progress.at or 0.0) + seconds for progress in written)


def _written(folder: ProjectFolder) -> Filling:
    """How far the filler is with a project; nothing, if that cannot be read, which is for others to report."""
    try:
        return Filling.read(folder.path)
    except OSError:
        return Filling()
