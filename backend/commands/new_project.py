"""The project that `pairloop-backend connect --new` makes, and takes back if it cannot be connected."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from backend.connecting.config_notes import IMPORT_INSTEAD
from backend.connecting.default_label_config import default_label_config
from backend.prompt_files.prompt_file import PromptFile
from preference.errors import PairloopError, StudioError
from preference.labelling.layouts import judged_layout_of, layout_of
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.storable import storable


@contextmanager
def new_project(
    settings: Settings, title: str, *, label_config: str | None, conversations: bool = False, prompts: Path | None
) -> Iterator[LabelStudioProject]:
    """A new project of that title for the time of the `with`; it is removed if that ends with an error.

    `label_config`: one of the user's own; else it is ours, for texts or for `conversations`.

    Raises:
        LayoutError, PromptFileError, StudioError: it cannot be made, and nothing was changed.
    """
    if storable(title)[1]:
        raise StudioError(f"The title {title!r} is not UTF-8 text; choose another, or set the terminal to UTF-8.")
    show_rewards = settings.suggesting.show_rewards
    label_config = label_config or default_label_config(show_rewards=show_rewards, conversations=conversations)
    layout_of(label_config)
    if prompts is not None:
        len(PromptFile(prompts, judged_layout_of(label_config, instead=IMPORT_INSTEAD)))
    if namesakes := Account(settings.studio).projects_titled(title):
        raise StudioError(
            f'Project {namesakes[0]} is called "{title}" already; connect it with --project {namesakes[0]}, or choose another title.'
        )
    project = Account(settings.studio).create_project(title=title, label_config=label_config)
    click.echo(f'made project {project.id}, "{title}"')
    try:
        yield project
    except BaseException:  # Ctrl-C as well
        click.echo(_take_back(project, ProjectFolder(settings.model_dir, project.id)), err=True)
        raise


def _take_back(project: LabelStudioProject, folder: ProjectFolder) -> str:
    """Removes the project, unless somebody put tasks into it meanwhile. Returns a sentence that says what became of it."""
    try:
        if any(project.all_tasks(page_size=1)):
            return f"project {project.id} stays: somebody put tasks into it"
        project.remove()
        folder.disconnect()  # from what Label Studio's first calls made known
    except PairloopError as error:
        return f"project {project.id} stays in Label Studio, remove it there: {error}"
    return f"removed project {project.id} again"
