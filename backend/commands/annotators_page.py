"""What `pairloop-backend connect` changes, if it is asked to, of the page that annotators see: its controls."""

import click

from backend.connecting.added_controls import difference, with_controls
from backend.connecting.default_label_config import has_no_config
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields


def add_controls_to(project: LabelStudioProject, state: ProjectFields, *, asks: bool) -> bool:
    """Puts Pairloop's controls into the project's label config, and into its `state`, after it showed what that adds.

    Returns whether it did.

    Raises:
        LayoutError: they do not fit into it.
        StudioError: Label Studio refused.
    """
    if has_no_config(state):  # it gets ours, which has them
        return False
    before = state["label_config"]
    after = with_controls(before)
    if after == before:
        click.echo("the label config has Pairloop's controls already")
        return False
    click.echo(difference(before, after))
    if asks and not click.confirm("Add these lines to the label config?"):
        click.echo("the label config stays as it is")
        return False
    project.update(label_config=after)
    state["label_config"] = after
    click.echo("added Pairloop's controls to the label config")
    return True
