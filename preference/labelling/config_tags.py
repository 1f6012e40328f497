"""The tags of a label config.

Covered: a config that declares a document type, and so any entity, is refused by defusedxml; so is one that is longer than
1,000,000 characters or nests more than 100 deep. As in Label Studio's editor, the case of attributes does not count.
"""

import re
import threading
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from preference.errors import LayoutError

ConfigTag = Element
reading = threading.Lock()  # one config at a time: the four bytes of <a/> are some 400 while its tags are held
_MARKUP = re.compile(
    r"""<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|<(?P<end>/?)[^\s/>!?]+(?:[^<>"']|"[^"]*"|'[^']*')*>""", re.DOTALL
)
_MOST_CHARACTERS = 1_000_000
_MOST_DEPTH = 100


def read_tags(label_config: str) -> list[ConfigTag]:
    """Every tag, in document order, its attributes in small letters.

    Raises:
        LayoutError: it is no XML, or none that is read.
    """
    if len(label_config) > _MOST_CHARACTERS:
        raise LayoutError(
            f"The label config has {len(label_config):,} characters; Pairloop reads one of {_MOST_CHARACTERS:,} at most."
        )
    try:
        root = fromstring(label_config, forbid_dtd=True)
    except DefusedXmlException:
        raise LayoutError(
            "The label config declares a document type or an entity, which Pairloop does not read; remove <!DOCTYPE ...> from it."
        ) from None
    except (ParseError, ValueError) as error:
        raise LayoutError(f"The label config is not valid XML ({error}); open Settings > Labeling Interface.") from None
    level = [root]
    for _ in range(_MOST_DEPTH):
        level = [tag for outer in level for tag in outer]
    if level:
        raise LayoutError(f"The label config nests its tags more than {_MOST_DEPTH} deep; Pairloop reads no deeper one.")
    tags = list(root.iter())
    for tag in tags:
        for name, value in tag.items():
            tag.set(name.lower(), value)  # as Label Studio's editor does (core/Tree.tsx, attrsToProps)
    return tags


def places_of(label_config: str, tags: Sequence[ConfigTag]) -> dict[ConfigTag, tuple[int, int]]:
    """Where each of its tags, as `read_tags` gave them, begins and ends in the text; what ends it included."""
    begun: list[tuple[ConfigTag, int]] = []
    places, remaining = {}, iter(tags)
    for markup in _MARKUP.finditer(label_config):
        if markup["end"] is None:  # a comment
            continue
        if not markup["end"]:
            begun.append((next(remaining), markup.start()))
        if markup["end"] or markup.group().endswith("/>"):
            tag, start = begun.pop()
            places[tag] = start, markup.end()
    return places


def without_declaration(label_config: str) -> str:
    """The config without a line such as `<?xml version="1.0" encoding="UTF-8"?>`, at which label-studio 1.23.2 answers 500."""
    return re.sub(r"\A\s*<\?xml\b[^>]*\?>\s*", "", label_config)
