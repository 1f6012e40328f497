"""Which tags of a label config show what of a task: the answers that are compared, the prompt, and what stands beside them.

Not covered: tags that show something else of the task: a URL's content, a picture; <Repeater>.
"""

import re
from collections.abc import Sequence

from preference.errors import LayoutError
from preference.labelling.config_tags import ConfigTag
from preference.labelling.controls.ranker import list_tag
from preference.labelling.conversations import MessageKeys
from preference.labelling.task_data import is_path

PROMPT_TAGS = ("Text", "HyperText", "Header", "Markdown", "Paragraphs", "Chat")
_ANSWER_TAGS = ("Text", "HyperText")
_FIELD = re.compile(r"\$([^, ]+)")  # as label-studio-sdk 2.1 knows a value that is read from the task


def shown_fields(tags: Sequence[ConfigTag]) -> list[str]:
    """The fields that tags show, also amid other text."""
    return [name for tag in tags if not tag.get("toname") for name in re.findall(r"\$(\w[\w.]*)", tag.get("value", ""))]


def comparison(tags: Sequence[ConfigTag]) -> tuple[ConfigTag, list[ConfigTag]]:
    """The <Pairwise> and the tags of its two answers, or the <Ranker> and its <List>."""
    pairwise = [tag for tag in tags if tag.tag == "Pairwise"]
    rankers = [tag for tag in tags if tag.tag == "Ranker"]
    if not pairwise and len(rankers) == 1:
        return rankers[0], [list_tag(tags, rankers[0])]
    if len(pairwise) != 1:
        raise LayoutError(
            f"The label config has {len(pairwise) or 'no'} <Pairwise> tags; Pairloop needs exactly one, "
            'such as <Pairwise name="comparison" toName="answer1,answer2"/>.'
        )
    control = pairwise[0].get("name", "")
    names = [name.strip() for name in pairwise[0].get("toname", "").split(",") if name.strip()]
    if not control or len(names) != 2 or names[0] == names[1]:
        raise LayoutError(
            f'<Pairwise name="{control}" toName="{pairwise[0].get("toname", "")}"> must have a name and '
            'compare exactly two tags, such as toName="answer1,answer2".'
        )
    return pairwise[0], [_answer_tag(tags, control, name) for name in names]


def _answer_tag(tags: Sequence[ConfigTag], control: str, name: str) -> ConfigTag:
    tag = next((tag for tag in tags if tag.get("name") == name), None)
    if tag is None or tag.tag not in _ANSWER_TAGS:
        instead = "is missing" if tag is None else f"is a <{tag.tag}>"
        raise LayoutError(
            f'<Pairwise name="{control}"> compares "{name}", which {instead}; it must be a <Text> or <HyperText> tag.'
        )
    return tag


def prompt_tag(tags: Sequence[ConfigTag], answer_fields: set[str]) -> ConfigTag | None:
    """The remaining tag that shows task data, or among several the one named `prompt`; None if there is no such tag.

    Raises:
        LayoutError: several could be it, or one that means to show a prompt shows no text of the task.
    """
    inside_controls = {id(inner) for tag in tags if tag.get("toname") for inner in tag.iter()}
    displayed = [(tag, field) for tag in tags if (field := _field(tag)) and field not in answer_fields]
    # Choices that stand round the answers may stand round the prompt, too.
    remaining = [(tag, field) for tag, field in displayed if id(tag) not in inside_controls] or [
        (tag, field) for tag, field in displayed if tag.tag in _ANSWER_TAGS and tag.get("name")
    ]
    fields = {field for _, field in remaining}
    named = [(tag, field) for tag, field in remaining if tag.get("name") == "prompt"]
    if len(fields) == 1 or named:
        # Of several tags on one field, one that shows its text will do.
        tag = max((tag for tag, _ in named or remaining), key=lambda tag: tag.tag in PROMPT_TAGS and not _shows_another_text(tag))
        if tag.tag not in PROMPT_TAGS:
            raise LayoutError(
                f"The prompt is in {_name(tag)}, a <{tag.tag}>, which shows no text: Pairloop answers a text and would fill no task; "
                'show the prompt as one text, such as <Text name="prompt" value="$prompt"/>.'
            )
        return tag
    others = [tag for tag in tags if not tag.get("toname") and _field(tag) not in answer_fields]
    if not fields and not any(map(_is_meant_as_prompt, others)):
        return None
    names = ", ".join(sorted(_name(tag) for tag, _ in remaining))
    reason = f"several tags could be it ({names}); name one of them prompt" if fields else "no tag shows it"
    raise LayoutError(f'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: {reason}.')


def message_keys(tag: ConfigTag) -> MessageKeys | None:
    """As label-studio's docs have them, tags/paragraphs and tags/chat; None if the tag shows a text."""
    if tag.tag == "Paragraphs":
        return MessageKeys(tag.get("namekey", "author"), tag.get("textkey", "text"))
    return MessageKeys() if tag.tag == "Chat" else None


def text_field(tag: ConfigTag, *, such_as: str) -> str:
    """The field whose text this tag shows.

    Raises:
        LayoutError: it shows none.
    """
    field = _field(tag)
    if field is None or _shows_another_text(tag):
        raise LayoutError(
            f'<{tag.tag} name="{tag.get("name", "")}"> must read a task field, such as value="{such_as}", and no URL.'
        )
    if not is_path(field):
        raise LayoutError(
            f'<{tag.tag} name="{tag.get("name", "")}"> reads "${field}", which Label Studio\'s editor cannot show; rename the field: '
            "letters a to z, digits and _, and for nested data a path such as $answers.left or $answers[0]."
        )
    return field


def _is_meant_as_prompt(tag: ConfigTag) -> bool:
    """Whether a tag without a field of its own looks like a prompt: by its name, or as it shows a field amid other text."""
    shown = f"{tag.get('value', '')}{tag.text or ''}" if tag.tag in PROMPT_TAGS else ""
    return tag.get("name") == "prompt" or "$" in shown


def _shows_another_text(tag: ConfigTag) -> bool:
    """Whether the tag shows something else than its field's text: what a URL leads to, what is encoded, or what stands inside it."""
    is_encoded = tag.get("encoding", "none") != "none" or bool(tag.get("resolver"))
    return tag.get("valuetype") == "url" or is_encoded or bool("".join(tag.itertext()).strip())


def _field(tag: ConfigTag) -> str | None:
    """What a tag reads of the task; that may be no field which Label Studio can show."""
    match = _FIELD.fullmatch(tag.get("value", ""))
    return match.group(1) if match else None


def _name(tag: ConfigTag) -> str:
    return tag.get("name") or f"<{tag.tag}>"
