import pytest

from backend.generators.echo import EchoGenerator
from preference.errors import ModelError
from preference.generation.jobs import Job, write_all
from tests.support.scheduled_jobs import Writer

# For those who have all their prompts at hand


def test_all_are_written_in_order_with_their_seeds() -> None:
    prompts = [f"Prompt {k}" for k in range(40)]

    writings = write_all(EchoGenerator(), prompts, seeds=range(40), num_answers=3)

    assert [writing.answers[2].partition(" of: ")[2] for writing in writings] == prompts
    assert writings[5:6] == write_all(EchoGenerator(), prompts[5:6], seeds=[5], num_answers=3)
    assert write_all(EchoGenerator(), [], seeds=[]) == []
    with pytest.raises(ValueError, match="zip"):
        write_all(EchoGenerator(), prompts, seeds=[1])


def test_a_failure_is_raised_if_all_are_written() -> None:
    def work(job: Job) -> None:
        raise ModelError("The model failed.")

    with pytest.raises(ModelError, match="The model failed"):
        write_all(Writer(work), ["a"], seeds=[0])
