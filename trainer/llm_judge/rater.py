"""A model behind any server of OpenAI's API as a rater: it is asked of each comparison in both orders.

Covered: a server that restarts (asked again after growing waits), that goes away (one sentence, and its replies are kept), one
question that is refused, and all of them, a reply that says nothing, a model that thinks first.
Not covered: OPENAI_ENDPOINT=completions. A model without a chat template is no rater.
"""

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError

from preference.generation.openai_server import REFUSALS, OpenAIServer, wants_other_limit, wants_own_temperature
from preference.labelling.prompts import Prompt
from trainer.rating.questions import Reply, question, read_reply
from trainer.rating.replies import Replies

_REPLY_TOKENS = 32
_PATIENCE_SECONDS = 900  # for one question with all its tries
_MOST_REFUSED = 8  # before any reply: then it is not the texts that the server refuses


class Comparison(NamedTuple):
    """Two answers to a prompt, whichever way they are shown."""

    prompt: Prompt
    one: str
    other: str

    @property
    def orders(self) -> tuple[tuple[Prompt, str, str], tuple[Prompt, str, str]]:
        """Both ways."""
        return (self.prompt, self.one, self.other), (self.prompt, self.other, self.one)


class Rater:
    """One model on a server."""

    def __init__(self, server: OpenAIServer, model: str, *, thinking_tokens: int, template_options: dict[str, bool]) -> None:
        """`thinking_tokens`: the longest thought before a reply. `template_options`: what the chat template gets beside the turns."""
        self._server, self.model, self._thinking_tokens = server, model, thinking_tokens
        self._limit = "max_tokens"
        self._sampling: dict[str, Any] = {"temperature": 0}
        self._num_refused, self._has_replied = 0, False
        self._more: dict[str, Any] = {"extra_body": {"chat_template_kwargs": template_options}} if template_options else {}

    def ask(self, comparisons: Iterable[Comparison], replies: Replies) -> int:
        """Asks what is not among the replies, keeps each reply as it comes, and gives how many were asked.

        Raises:
            ModelError: the server does not answer, or has no such model; what came before is kept.
            RegistryError: MODEL_DIR is full or not writable.
        """
        orders = dict.fromkeys(chain.from_iterable(comparison.orders for comparison in comparisons))
        open_ones = [order for order in orders if replies.find(*order) is None]
        if open_ones:
            self._server.models()  # says at once whether it answers
            try:
                asyncio.run(self._ask_all(open_ones, replies))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
        return len(open_ones)

    async def _ask_all(self, orders: list[tuple[Prompt, str, str]], replies: Replies) -> None:
        waiting = iter(orders)  # which all seats take from

        async def seat(client: AsyncOpenAI) -> None:
            for order in waiting:
                replies.keep(*order, await self._reply(client, *order))

        async with self._server.client() as client, asyncio.TaskGroup() as group:
            for _ in range(min(self._server.settings.concurrency, len(orders))):
                group.create_task(seat(client))

    async def _reply(self, client: AsyncOpenAI, prompt: Prompt, first: str, second: str) -> Reply:
        messages = question(prompt, first, second)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                choice = await self._choice(client, messages)
        except (APIError, TimeoutError, ValueError) as error:
            if isinstance(error, APIStatusError) and error.status_code in REFUSALS:
                self._num_refused += 1
                if self._has_replied or self._num_refused < _MOST_REFUSED:
                    return "refused"
            raise self._server.failure(error, model=self.model, texts=[message["content"] for message in messages]) from error
        self._has_replied = True
        if choice.finish_reason == "content_filter":
            return "refused"
        return read_reply(choice.message.content or "")

    async def _choice(self, client: AsyncOpenAI, messages: list[dict[str, Any]]) -> Any:
        create: Any = client.chat.completions.create
        while True:
            limit, sampling = self._limit, self._sampling
            try:
                answer = await create(
                    model=self.model, messages=messages, seed=0, **sampling,
                    **{limit: _REPLY_TOKENS + self._thinking_tokens}, **self._more,
                )  # fmt: skip
            except BadRequestError as error:
                if limit == "max_tokens" and wants_other_limit(error):
                    self._limit = "max_completion_tokens"
                elif sampling and wants_own_temperature(error):
                    self._sampling = {}
                else:
                    raise
                continue
            choices: list[Any] = getattr(answer, "choices", None) or []
            if not choices:
                raise ValueError("no choices")
            return choices[0]
