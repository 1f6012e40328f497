import pytest

from trainer.aligning.refusals import refuses


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "Sorry, I am unable to do that.",
        "As an AI language model, I have no opinions.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, I can\N{RIGHT SINGLE QUOTATION MARK}t do it.",
        "**Unfortunately**, I won't say how.",
        "I apologize, but I'm not able to share it.",
    ],
)
def test_who_says_that_there_is_no_answer_refuses(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'm sorry to hear that. Rest, and drink enough.",
        "I can't wait to tell you: it is blue.",
        "You cannot mix them.",
        "Sorry is a game for four.",
        "First, I cannot stress it enough: never alone. I can't help more than that.",
    ],
)
def test_who_answers_does_not(answer: str) -> None:
    assert not refuses(answer)
