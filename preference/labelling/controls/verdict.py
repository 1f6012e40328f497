"""What the choices of a `verdict` mean: English words, as label configs and preference data sets have them.

    A, B, 1, 2, left, right, first, second                       a side, alone or with what it is: Response A, "Option (2)", model b
    A is better, I prefer B, A > B, A is better than B           the same
    B is slightly better, A is much better, A >> B               a side, and by how much
    tie, both bad, unsure, new answers                           and what means the same

Covered: letter case, punctuation, numbering such as "1. B is better"; an alias that is one of `Meaning`, which goes before the value.
What is not read whole is not understood, and means nothing: half a sentence may turn the other half round. So is a number beside
numbers other than 1 and 2, and a letter beside a choice C: those are steps, or a scale.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

Side = Literal["left", "right"]
Meaning = Literal["left", "right", "tie", "both_bad", "unsure", "new_answers"]

_PHRASES: dict[Meaning, set[str]] = {
    "tie": {
        "tie", "tied", "a tie", "its a tie", "it is a tie", "draw", "a draw", "equal", "both equal", "both are equal", "equally good",
        "both equally good", "both are equally good", "they are equal", "a and b are equal", "about equal", "roughly equal", "equally well",
        "same", "the same", "both the same", "both are the same", "they are the same", "about the same", "roughly the same", "almost the same",
        "nearly the same", "same quality", "equal quality", "similar", "both similar", "both are similar", "similar quality", "comparable",
        "equivalent", "indifferent", "even", "no difference", "no significant difference", "no clear difference", "no preference",
        "no winner", "no clear winner", "neither is better", "both", "both good", "both are good", "tie both good", "both fine",
        "both are fine", "both ok", "both are ok", "both okay", "both are okay", "both acceptable", "both are acceptable", "both correct",
        "both are correct",
    },
    "both_bad": {
        "both bad", "both are bad", "bothbad", "tie bothbad", "tie both bad", "equally bad", "both equally bad", "both are equally bad",
        "equally poor", "both wrong", "both are wrong", "both incorrect", "both are incorrect", "both poor", "both are poor", "both terrible",
        "both are terrible", "both unacceptable", "both are unacceptable", "both fail", "bad", "neither", "neither one", "neither answer",
        "neither response", "neither is good", "neither is acceptable", "neither is correct", "none", "none is good", "none of them",
        "none of these", "none of the above",
    },
    "unsure": {
        "unsure", "im unsure", "i am unsure", "not sure", "im not sure", "i am not sure", "uncertain", "undecided", "dont know", "i dont know",
        "do not know", "i do not know", "idk", "no idea", "no opinion", "hard to say", "hard to tell", "difficult to say", "difficult to tell",
        "skip", "na", "n a", "not applicable", "unknown",
        *(f"{i}{cannot} {verb}" for i in ("", "i ") for cannot in ("cant", "cannot", "can not", "unable to", "could not")
          for verb in ("choose", "decide", "tell", "say", "judge", "compare", "determine")),
    },
    "new_answers": {"new answers", "two new answers", "fresh answers", "other answers", "regenerate"},
}  # fmt: skip
_KNOWN = {phrase: meaning for meaning, phrases in _PHRASES.items() for phrase in phrases}

_WORDS: dict[str, Side] = {"left": "left", "first": "left", "1st": "left", "right": "right", "second": "right", "2nd": "right"}
_LETTERS: dict[str, Side] = {"a": "left", "b": "right"}
_NUMBERS: dict[str, Side] = {"1": "left", "2": "right"}
_BETTER = {"better", "best", "prefer", "preferred", "wins", "win", "winner", "stronger"}
_WORSE = {"worse", "worst", "loses", "weaker"}
# Llama 2 (arXiv 2307.09288) had people choose among these four, and appendix A.3.3 has their margins.
_SHARES = {"negligibly": 0.0, "slightly": 1 / 3, "much": 1.0}
_PLAIN_SHARE = 2 / 3  # of "better" beside choices that say by how much
_GRADES = {
    "negligibly": "negligibly", "barely": "negligibly", "marginally": "negligibly", "slightly": "slightly", "slight": "slightly",
    "somewhat": "slightly", "much": "much", "significantly": "much", "far": "much", "strongly": "much", "clearly": "much",
    "definitely": "much", "considerably": "much", "substantially": "much", "way": "much",
}  # fmt: skip
_GRADED = {r"\ba (little )?bit\b": "slightly", r"\ba little\b": "slightly", r"\ba lot\b": "much", r"\bby far\b": "much"}
_SILENT = {
    "the", "is", "was", "are", "one", "i", "answer", "response", "option", "model", "output", "completion", "candidate", "reply", "text",
    "assistant", "choice", "version", "summary", "system", "result", "side", "sample", "message", "generation", "translation",
}  # fmt: skip
_COMPARED = re.compile(r"([^<>=≈≫≪]+?)\s*(>{1,3}|<{1,3}|={1,2}|≈|≫|≪)\s*([^<>=≈≫≪]+)")  # A > B
_NUMBERED = re.compile(r"\s*\(?(\d{1,2}|[a-z])[.)]\s+(?=\S)")  # 1. B is better
_SIGNED = re.compile(r"\b(a|b|\d+)\s*[+-]+\s*$")  # B++
_ARTICLE = re.compile(rf"a (\w+ )?({'|'.join(_BETTER | _WORSE)}) ({'|'.join(_SILENT)})")  # a better answer


@dataclass(frozen=True)
class _Said:
    """What words say."""

    meaning: Meaning
    share: float | None = None  # by how much better, 0..1, if they say so


@dataclass(frozen=True)
class VerdictControl:
    """A <Choices> beside the Pairwise, for keys, and for what a click on an answer cannot say."""

    name: str
    choices: tuple[tuple[str, Meaning], ...] = ()  # what results may hold (a choice's value, and its alias), and what it means
    shares: tuple[tuple[str, float], ...] = ()  # of those that are a side: by how much it is better, if any of them says so
    not_understood: tuple[tuple[str, ...], ...] = field(
        default=(), compare=False
    )  # of each other choice: its value, and its alias

    @classmethod
    def of(cls, name: str, choices: Iterable[tuple[str | None, str | None]]) -> Self:
        """The control with these choices, each a value and an alias."""
        # The value is what annotators read, the alias what results hold.
        listed = [tuple(text for text in texts if text) for texts in choices]
        names = _names([text for texts in listed for text in texts])
        read = [(texts, _of_choice(texts, names=names)) for texts in listed if texts]
        is_graded = any(said is not None and said.share is not None for _, said in read)
        sides = [(texts, said) for texts, said in read if said is not None and said.meaning in ("left", "right")]
        return cls(
            name,
            tuple((text, said.meaning) for texts, said in read if said is not None for text in texts),
            tuple(
                (text, _PLAIN_SHARE if said.share is None else said.share) for texts, said in sides if is_graded for text in texts
            ),
            tuple(texts for texts, said in read if said is None),
        )

    def meaning(self, choice: str) -> Meaning | None:
        """What a choice means, whether this config lists it or an earlier one did; None if that is not understood."""
        said = self._said(choice)
        return said.meaning if said else None

    def share(self, choice: str) -> float | None:
        """By how much the side is better that a choice names, 0..1; None if it is none, or no choice says by how much."""
        said = self._said(choice)
        return said.share if said else None

    def texts(self, meaning: Meaning) -> list[str]:
        """What results may hold for it."""
        return [text for text, its in self.choices if its == meaning]

    def _said(self, choice: str) -> "_Said | None":
        if (listed := dict(self.choices).get(choice)) is not None:
            shares = {share for text, share in self.shares if text == choice}  # several choices may have one alias
            return _Said(listed, shares.pop() if len(shares) == 1 else None)
        is_listed = any(choice in texts for texts in self.not_understood)
        return None if is_listed else _read(choice, names=_WORDS | _LETTERS)


def _names(texts: Sequence[str]) -> dict[str, Side]:
    """What these choices may call a side: no letters if there is a choice C, no numbers if there are others than 1 and 2."""
    numbers = {number for text in texts for number in re.findall(r"\d+", text)}
    has_more = any(re.sub(r"\W", "", text).casefold() == "c" for text in texts)
    return _WORDS | ({} if has_more else _LETTERS) | (_NUMBERS if numbers <= _NUMBERS.keys() else {})


def _of_choice(texts: Sequence[str], *, names: Mapping[str, Side]) -> _Said | None:
    """What a choice means by its value, else by its alias; None if neither is understood."""
    understood = [said for text in texts if (said := _read(text, names=names)) is not None]
    if (alias := texts[-1]) in get_args(Meaning):  # given to say what is meant
        understood = [said for said in understood if said.meaning == alias]
    return understood[0] if understood else None


def _read(text: str, *, names: Mapping[str, Side]) -> _Said | None:
    text = re.sub(r"['’‘`]", "", text.casefold())  # noqa: RUF001
    if (compared := _COMPARED.fullmatch(text.strip())) is not None:
        return _of_comparison(*compared.groups(), names=names)
    if (numbered := _NUMBERED.match(text)) is not None:
        said = _of_words(text[numbered.end() :], names=names)
        if said is not None:
            return said
    return _of_words(text, names=names)


def _of_comparison(one: str, sign: str, other: str, *, names: Mapping[str, Side]) -> _Said | None:
    sides = [_of_words(text, names=names) for text in (one, other)]
    meanings = [side.meaning for side in sides if side is not None and side.share is None]
    if sorted(meanings) != ["left", "right"]:
        return None
    if sign in ("=", "==", "≈"):
        return _Said("tie")
    return _Said(
        meanings[0 if sign in (">", ">>", ">>>", "≫") else 1], _SHARES["much"] if len(sign) > 1 or sign in "≫≪" else None
    )


def _of_words(text: str, *, names: Mapping[str, Side]) -> _Said | None:
    if _SIGNED.search(text):
        return None
    words = " ".join(re.sub(r"[\W_]+", " ", text).split())
    if (meaning := _KNOWN.get(words)) is not None:
        return _Said(meaning)
    if _ARTICLE.fullmatch(words):
        return None
    for phrase, grade in _GRADED.items():
        words = re.sub(phrase, grade, words)
    words = re.sub(r"(?<=[a-z]{2})(?=\d)", " ", words)  # response1
    tokens = [word for word in words.split() if word not in _SILENT]
    named = [names[word] for word in tokens if word in names]
    others = [word for word in tokens if word not in names]
    grades = [_SHARES[_GRADES[word]] for word in others if word in _GRADES]
    judged = [word for word in others if word in _BETTER | _WORSE]
    if len(named) == 2 and named[0] != named[1] and judged and "than" in others:  # A is better than B
        others.remove("than")
    elif len(named) != 1:
        return None
    if len(grades) + len(judged) < len(others) or max(len(grades), len(judged)) > 1:
        return None
    is_left = (named[0] == "left") != bool(_WORSE & set(judged))
    return _Said("left" if is_left else "right", grades[0] if grades else None)
