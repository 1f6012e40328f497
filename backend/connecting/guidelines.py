"""Guidelines for annotators: a Markdown text that becomes the instruction that Label Studio shows before labeling.

Label Studio 1.23.2 shows the instruction as HTML. It bleaches what it stores, by a list that has `script` and `style` in it
(label_studio/constants.py), and its page shows that as it is. So none of the text's own HTML becomes any: it is shown as
characters. A link or a picture leads to the web, or is shown as its source. The page also takes margins, numbers and bullets from all
HTML, so a style sheet gives them back.
"""

import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

from markdown_it import MarkdownIt

from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import note_instruction, version_of
from preference.studio.project import LabelStudioProject
from preference.studio.task import ProjectFields

# Without > and &, which bleach would write otherwise. Greys that suit a light and a dark page.
_STYLE = """
.guidelines { overflow-wrap: anywhere; }
.guidelines :is(p, ul, ol, pre, table, blockquote, hr) { margin: 0 0 .7em; }
.guidelines :is(h1, h2, h3, h4, h5, h6) { margin: 1em 0 .4em; line-height: 1.25; font-weight: 600; }
.guidelines h1 { font-size: 1.4em; }
.guidelines h2 { font-size: 1.2em; }
.guidelines :is(h3, h4, h5, h6) { font-size: 1em; }
.guidelines ul { list-style: disc; padding-left: 1.6em; }
.guidelines ol { list-style: decimal; padding-left: 1.6em; }
.guidelines :is(th, td) { border: 1px solid #8886; padding: .2em .6em; text-align: left; }
.guidelines pre { background: #8882; padding: .5em .7em; overflow-x: auto; }
.guidelines blockquote { border-left: 3px solid #8886; padding-left: .8em; }
.guidelines img { max-width: 100%; }
"""


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        # Label Studio keeps these alone, and relative ones, which would lead to a page of its own.
        return re.match(r"(https?|mailto):", url, re.IGNORECASE) is not None


def instruction_of(markdown: str) -> str:
    """The HTML of a Markdown text: CommonMark, tables and strikethrough; empty if the text is."""
    parser, environment = _Markdown("js-default"), dict[str, object]()
    tokens = parser.parse(markdown, environment)
    for opening, item in pairwise(tokens):
        if opening.type == "ordered_list_open" and "start" in opening.attrs:
            item.attrSet("value", str(opening.attrs["start"]))  # Label Studio takes `start` away
    html = str(parser.renderer.render(tokens, parser.options, environment))
    return f'<div class="guidelines"><style>{_STYLE}</style>\n{html}</div>' if html else ""


def set_guidelines(
    project: LabelStudioProject, folder: ProjectFolder, instruction: str, *, state: ProjectFields,
    clock: Callable[[], float] = time.time,
) -> Iterator[str]:  # fmt: skip
    """Makes this the project's instruction, shown before labeling. Yields a sentence if that was to be done.

    `state`: what `project.read` gave just before. `clock` gives seconds since 1970.

    Raises:
        StudioError: Label Studio refused.
        RegistryError: MODEL_DIR is full or not writable, or what was noted of earlier guidelines is damaged.
    """
    note_instruction(folder, state.get("expert_instruction"), now=clock())
    version = version_of(instruction)
    if version_of(state.get("expert_instruction")) != version or not state.get("show_instruction"):
        project.update(expert_instruction=instruction, show_instruction=True)
        state = project.read()
        yield f"set the guidelines, version {version}"
    note_instruction(folder, state.get("expert_instruction"), now=clock(), by="connect")
