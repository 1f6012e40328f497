"""What people should know of a label config that is taken as it is."""

from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import Layout

NO_PROMPT_NOTE = "the label config shows no prompt, so judgements are trained on and exported, and no task is filled"
HTML_NOTE = "<HyperText> shows an answer as HTML, and what is trained on is its source; <Text> shows that"
CHAT_NOTE = (
    "<Chat> is a tag of Label Studio Enterprise, and the community edition opens no task with it; "
    '<Paragraphs value="$..." nameKey="role" textKey="content"/> shows the same conversation in both'
)
MARKDOWN_NOTE = (
    "<Markdown> hands HTML in {fields} to the annotators' browsers, where it may act in their name; <Text> shows it as it is"
)
IMPORT_INSTEAD = "import its prompts on its page in Label Studio, and they get drafts"  # into a project of demonstrations
ALIAS_ADVICE = (
    'give each an alias that says what it means, such as <Choice value="..." alias="right"/> '
    "(left, right, tie, both_bad, unsure or new_answers)"
)


def not_understood(layout: LabelingLayout) -> str:
    """Which choices of the verdict say nothing; empty if there are none."""
    choices = layout.verdict.not_understood if layout.verdict is not None else ()
    named = ", ".join(f'"{texts[0]}"' for texts in choices)
    return f"judgements by these choices of the verdict are not used, as they are not understood: {named}" if named else ""


def unread_buckets(layout: LabelingLayout) -> str:
    """Which buckets of a <Ranker> say nothing of how good the answers in them are; empty if there are none."""
    unread = [bucket.title for bucket in layout.ranker.buckets if bucket.grade is None] if layout.ranker is not None else []
    named = ", ".join(f'"{title}"' for title in unread)
    return (
        f"answers in these buckets are compared with no others, as their titles say neither good nor bad: {named}"
        if named
        else ""
    )


def demonstrations_note(layout: DemonstrationLayout) -> str:
    """What becomes of a project that collects demonstrations."""
    return f"people write answers ({layout.control}): each task gets a draft, nothing is trained, and export --format sft writes them"


def display_notes(layout: LabelingLayout) -> list[str]:
    """What people see, or say, otherwise than one may think."""
    fields = " and ".join(f"${field}" for field in layout.unescaped)
    notes = [
        NO_PROMPT_NOTE if layout.prompt_field is None else "",
        HTML_NOTE if layout.is_html else "",
        CHAT_NOTE if layout.is_chat else "",
        MARKDOWN_NOTE.format(fields=fields) if fields else "",
        unread_buckets(layout),
    ]
    return [note for note in notes if note]


def config_notes(layout: Layout) -> list[str]:
    """A sentence for each thing that the label config does otherwise than its author may think."""
    if isinstance(layout, DemonstrationLayout):
        return [demonstrations_note(layout)]
    unread = not_understood(layout)
    return [*([f"{unread}; {ALIAS_ADVICE}"] if unread else []), *display_notes(layout)]
