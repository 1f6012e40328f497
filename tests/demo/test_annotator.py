"""The scripted annotator judges by what it says, and its prompts are enough to learn from."""

from demo.annotator import choose
from demo.stack import REPOSITORY

PROMPTS, NEW_PROMPTS = (
    (REPOSITORY / "demo" / name).read_text(encoding="utf-8").splitlines() for name in ("prompts.txt", "new_prompts.txt")
)


def test_who_speaks_to_the_reader_wins_then_who_talks_less_about_itself() -> None:
    assert choose("Warm your pot first.", "Warm the pot first.") == "left"
    assert choose("I think you should wait.", "You should wait.") == "right"
    assert choose("Boil it.", "Fry it.") is None


def test_a_list_of_numbers_wins_nothing() -> None:
    """A generator that may win by numbers learns to write nothing else."""
    assert choose("1. 1.1 1.1.1 1.1.2", "Boil it.") is None


def test_each_prompt_stands_once_and_no_new_one_was_judged_before() -> None:
    assert len({*PROMPTS, *NEW_PROMPTS}) == len(PROMPTS) + len(NEW_PROMPTS)
