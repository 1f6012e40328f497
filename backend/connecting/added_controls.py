"""Pairloop's controls, put into a label config of somebody's own: keys, a tie, stars, a better answer.

The <Choices> of the verdict is put round the answers, and one of its choices beside each, so that a key and a click are the same
choice. What stands there stays as it was written; only lines are added.
"""

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from itertools import takewhile

from preference.errors import LayoutError
from preference.labelling.config_tags import ConfigTag, places_of, read_tags
from preference.labelling.label_config import LabelingLayout

_STYLE = """<Style>
  .pairloop-answer { position: relative; padding: 12px; border-radius: 8px; }
  .pairloop-answer:has(input:checked) { box-shadow: inset 0 0 0 2px #617ada; background: rgba(97, 122, 218, 0.16); }
  .lsf-choices:has(input:checked) .pairloop-answer .cursor-pointer { background: none !important; box-shadow: none !important; }
  .pairloop-answer .lsf-choice, .pairloop-answer .lsf-choice__item, .pairloop-answer label { position: static !important; }
  .pairloop-answer .lsf-choice, .pairloop-answer .lsf-choice * { color: inherit !important; }
  .pairloop-answer .lsf-choice label::after { content: ""; position: absolute; inset: 0; width: auto; cursor: pointer; }
  .pairloop-verdict { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 24px; margin-top: 12px; }
</Style>"""
_OTHERS = (("Tie", "tie", "t"), ("Both bad", "both_bad", "b"), ("New answers", "new_answers", "n"))
# Label Studio 1.23.2 leaves a <Collapse> white in its dark mode.
_BETTER_ANSWER = """<Style>
  .pairloop-better [class*="ant-collapse"] {{ background: transparent !important; color: inherit !important; }}
</Style>
<View className="pairloop-better">
  <Collapse>
    <Panel value="Write a better answer">
      <TextArea name="better_answer" toName="{tag}" rows="4" maxSubmissions="1" editable="true" showSubmitButton="false"/>
    </Panel>
  </Collapse>
</View>"""


def with_controls(label_config: str) -> str:
    """The label config with those of `verdict`, `strength` and `better_answer` that it lacks; unchanged if it has them.

    Raises:
        LayoutError: it does not fit, or nothing can be put round its answers.
    """
    layout, tags = LabelingLayout.from_label_config(label_config), read_tags(label_config)
    taken = {tag.get("name") for tag in tags}
    config = _Config(label_config, tags)
    strength = f'<Rating name="strength" toName="{layout.answer_tags[0]}" maxRating="4" size="small"/>'
    if "verdict" not in taken:
        _add_verdict(config, layout, last="" if "strength" in taken else strength)
    elif "strength" not in taken:
        config.append(strength)
    if "better_answer" not in taken:
        config.append(_BETTER_ANSWER.format(tag=layout.answer_tags[0]))
    written = config.written()
    after = LabelingLayout.from_label_config(written)
    if (after.prompt_field, after.answer_fields) != (layout.prompt_field, layout.answer_fields):
        raise LayoutError("Pairloop's controls do not fit round these answers; add them by hand, see docs/label-configs.md.")
    return written


def difference(before: str, after: str) -> str:
    """What was added, as `diff -u` shows it; empty if nothing was."""
    lines = unified_diff(before.splitlines(), after.splitlines(), "label config", "with Pairloop's controls", lineterm="")
    return "\n".join(lines)


class _Config:
    """A label config's text, and what is to be put before and behind its tags."""

    def __init__(self, text: str, tags: Sequence[ConfigTag]) -> None:
        self.tags, self.root = tags, tags[0]
        self.outer: Mapping[ConfigTag, ConfigTag] = {inner: tag for tag in tags for inner in tag}
        self._text, self._places = text, places_of(text, tags)
        self._added: list[tuple[int, int, str]] = []  # where, in which order if there are several, what

    def put_round(self, first: ConfigTag, last: ConfigTag, opening: str, closing: str, *, inner: bool = False) -> None:
        """`inner`: closer to what it is put round than what is not."""
        (start, _), (_, end) = self._places[first], self._places[last]
        margin = self._margin(start)
        self._added.append((start, 1 if inner else 0, f"{_lines(opening, margin)}\n{margin}"))
        self._added.append((end, -1 if inner else 0, f"\n{margin}{_lines(closing, margin)}"))

    def prepend(self, text: str) -> None:
        """Puts it before the first tag inside the outermost one."""
        start, _ = self._places[self.root[0]]
        margin = self._margin(start)
        self._added.append((start, -1, f"{_lines(text, margin)}\n{margin}"))

    def append(self, text: str) -> None:
        """Puts it last inside the outermost tag."""
        end = self._text.rindex("</", 0, self._places[self.root][1])
        self._added.append((end, len(self._added), f"  {_lines(text, '  ')}\n"))

    def written(self) -> str:
        """The whole text."""
        pieces, done = [], 0
        for place, _, added in sorted(self._added):
            pieces += [self._text[done:place], added]
            done = place
        return "".join([*pieces, self._text[done:]])

    def way_to(self, tag: ConfigTag) -> list[ConfigTag]:
        """From the outermost tag to this one."""
        return [*self.way_to(self.outer[tag]), tag] if tag in self.outer else [tag]

    def _margin(self, place: int) -> str:
        line = self._text[self._text.rfind("\n", 0, place) + 1 : place]
        return line if line.isspace() else ""


def _add_verdict(config: _Config, layout: LabelingLayout, *, last: str) -> None:
    """`last`: what stands behind its choices."""
    keys = {tag.get("hotkey") for tag in config.tags}

    def choice(value: str, alias: str, key: str) -> str:
        return f'<Choice value="{value}" alias="{alias}"' + (f' hotkey="{key}"/>' if key not in keys else "/>")

    named = {tag.get("name"): tag for tag in config.tags}
    answers = sorted(((named[name], side) for name, side in zip(layout.answer_tags, ("left", "right"), strict=True)),
                     key=lambda answer: config.tags.index(answer[0]))  # fmt: skip
    for (tag, side), value, key in zip(answers, ("First is better", "Second is better"), "12", strict=True):
        config.put_round(tag, tag, '<View className="pairloop-answer">', f"{choice(value, side, key)}\n</View>", inner=True)
    first, last_tag = _parts(config, answers[0][0], answers[1][0])
    others = "\n".join(f"  {choice(*other)}" for other in _OTHERS) + (f"\n  {last}" if last else "")
    opening = f'<Choices name="verdict" toName="{layout.answer_tags[0]}" choice="single">\n<View>'
    config.put_round(first, last_tag, opening, f'</View>\n<View className="pairloop-verdict">\n{others}\n</View>\n</Choices>')
    config.prepend(_STYLE)


def _parts(config: _Config, one: ConfigTag, other: ConfigTag) -> tuple[ConfigTag, ConfigTag]:
    """The first and the last of what the verdict is put round: the least that holds both answers, and no layout is torn apart.

    Raises:
        LayoutError: other choices stand among them, which the editor would take for the verdict's.
    """
    ways = config.way_to(one), config.way_to(other)
    shared = [tag for tag, _ in takewhile(lambda both: both[0] is both[1], zip(*ways, strict=False))]
    around, depth = shared[-1], len(shared)
    is_of_its_own = around is not config.root and around.tag == "View" and not _holds_another_text(around, {one, other})
    first, last = (around, around) if is_of_its_own else (ways[0][depth], ways[1][depth])
    among = config.tags[config.tags.index(first) : config.tags.index(list(last.iter())[-1]) + 1]
    if any(tag.tag in ("Choices", "Taxonomy") for tag in among):
        raise LayoutError(
            "Other choices stand between the answers of this label config, so that Pairloop's cannot be put round them; move those out "
            "from between, or add ours by hand, see docs/label-configs.md."
        )
    return first, last


def _holds_another_text(around: ConfigTag, answers: set[ConfigTag]) -> bool:
    return any(tag.tag in ("Text", "HyperText", "Paragraphs", "Chat") and tag not in answers for tag in around.iter())


def _lines(text: str, margin: str) -> str:
    return text.replace("\n", f"\n{margin}")
