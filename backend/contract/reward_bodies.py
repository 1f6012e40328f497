"""What other programs send for rewards, in their own forms; fields that Pairloop has no use for are dropped.

`get_reward` is what OpenRLHF 0.11 posts to `--reward.remote_url` and LLaMA-Factory 0.9 to a reward model of type `api`; `classify` and
`pooling` are vLLM's, which verl speaks, too. Bodies are read by request_bodies.py, as Label Studio's are.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator
from typing_extensions import TypedDict

from backend.contract.request_bodies import Body, ProjectId
from preference.projects.version_name import VERSION_NAME

MOST_ANSWERS = 512  # of a request


class PartBody(TypedDict):
    """A part of a message's content: a text."""

    type: Literal["text"]
    text: str


class MessageBody(TypedDict):
    """A message of a conversation."""

    role: str
    content: str | Annotated[list[PartBody], Field(fail_fast=True)]


def _no_tokens(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("should be texts: token ids are those of another model's tokenizer")
    return value


# fail_fast: the first error is all that is answered, and each takes a kB.
Texts = Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MOST_ANSWERS)]
Messages = Annotated[list[MessageBody], Field(fail_fast=True, min_length=1, max_length=10_000)]


class ScoreBody(Body):
    """/score: answers to one prompt, which is a text or a conversation."""

    project: ProjectId
    version: Annotated[str, Field(pattern=f"^{VERSION_NAME}$")] | None = None
    prompt: str | None = None
    messages: Messages | None = None
    answers: Texts

    @model_validator(mode="after")
    def _has_one_prompt(self) -> "ScoreBody":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("should have either `prompt`, a text, or `messages`, a conversation")
        return self


class GetRewardBody(Body):
    """get_reward: texts of a prompt and its answer each. OpenRLHF calls them `query`, LLaMA-Factory `messages`."""

    query: Texts = Field(validation_alias=AliasChoices("query", "messages"))
    prompts: Annotated[list[str], Field(fail_fast=True, max_length=MOST_ANSWERS)] | None = None  # the head of each query

    @model_validator(mode="after")
    def _has_a_prompt_each(self) -> "GetRewardBody":
        if self.prompts is not None and len(self.prompts) != len(self.query):
            raise ValueError(f"has {len(self.query)} queries and {len(self.prompts)} prompts; send one prompt for each query")
        return self


class PoolingBody(Body):
    """classify, pooling: texts of a prompt and its answer each, or one conversation that ends with the answer."""

    input: Annotated[str | Texts, BeforeValidator(_no_tokens)] | None = None
    messages: Messages | None = None
    # vLLM's default is True. Before 0.11.2 it was named `activation`, which verl sends.
    use_activation: bool | None = Field(None, strict=True, validation_alias=AliasChoices("use_activation", "activation"))
    encoding_format: Literal["float"] = "float"

    @model_validator(mode="after")
    def _has_one_input(self) -> "PoolingBody":
        if (self.input is None) == (self.messages is None):
            raise ValueError("should have either `input`, a text or texts, or `messages`, a conversation")
        return self

    @property
    def texts(self) -> list[str]:
        """The texts of `input`."""
        return [self.input] if isinstance(self.input, str) else self.input or []
