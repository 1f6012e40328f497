import pytest

from preference.labelling.prompts import Turn
from trainer.rating.questions import Reply, question, read_reply


def test_a_question_has_the_prompt_and_both_answers_between_tags() -> None:
    system, user = question("Why?", "Because.", "So.")
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"] == "<prompt>\nWhy?\n</prompt>\n\n<answer A>\nBecause.\n</answer A>\n\n<answer B>\nSo.\n</answer B>"
    assert "[[A]]" in system["content"] and "[[C]]" in system["content"]


def test_a_conversation_is_asked_about_as_a_transcript_and_no_prompt_as_none() -> None:
    talk = (Turn("user", "Hi"), Turn("assistant", "Hello."), Turn("user", "Why?"))
    assert "User: Hi\n\nAssistant: Hello.\n\nUser: Why?" in question(talk, "a", "b")[1]["content"]
    assert question("", "a", "b")[1]["content"].startswith("<answer A>")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[A]]", "first"),
        (" [[B]].\n", "second"),
        ("[[C]]", "tie"),
        ("A", "first"),
        ("**B**", "second"),
        ("Answer A.", "first"),
        ("Not [[A]], for it is wrong; so [[B]]", "second"),
        ("<think>[[A]] is longer, but</think>\n\n[[B]]", "second"),
        ("<think>[[A]] is", "unreadable"),
        ("Both are good.", "unreadable"),
        ("", "unreadable"),
        ("A or B", "unreadable"),
    ],
)
def test_what_a_reply_says(text: str, said: Reply) -> None:
    assert read_reply(text) == said
