"""What a label config asks of people: to judge answers, or to write one."""

from preference.errors import NoComparison
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.label_config import LabelingLayout

Layout = LabelingLayout | DemonstrationLayout


def layout_of(label_config: str) -> Layout:
    """What a label config says.

    Raises:
        LayoutError: it asks for neither, or does not fit.
    """
    return DemonstrationLayout.of(label_config) or LabelingLayout.from_label_config(label_config)


def judged_layout_of(label_config: str, *, instead: str) -> LabelingLayout:
    """What a label config says by which people judge answers. `instead`: what to do about one by which they write some.

    Raises:
        NoComparison: they write answers.
        LayoutError: it does not fit.
    """
    layout = layout_of(label_config)
    if isinstance(layout, DemonstrationLayout):
        raise NoComparison(
            f'The label config collects answers that people write ("{layout.control}"), and no comparison: {instead}.'
        )
    return layout
