"""Answers from any server that speaks OpenAI's API: vLLM, SGLang, TGI, llama.cpp, Ollama, `transformers serve`.

Servers differ in whether a call gives several answers, in the name of the limit, and in whether their model thinks before it answers.
Each is tried once and remembered.

Covered: servers that restart or have too much to do (asked again after growing waits), one prompt that is refused (it gets
`refused`), a key, model or address that is wrong (ModelError).
Not covered: MAX_PROMPT_TOKENS and TOP_K. Only the server has the tokenizer; it refuses a prompt that is too long. A model that thinks
less than MAX_THINKING_TOKENS may use the rest of them for its answer, since a server has one limit for both.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, UnprocessableEntityError

from backend.generators.served_adapters import ServedAdapters
from preference.errors import ModelError
from preference.generation.jobs import CUT, Answer, Job, Jobs, WrittenAnswers
from preference.generation.openai_server import MAX_RETRIES, REFUSALS, OpenAIServer, reason_of, wants_other_limit
from preference.labelling.prompts import Prompt, Turn, messages, to_be_continued, turns_of
from preference.models.thoughts import split_thought
from preference.settings import Settings

logger = logging.getLogger("pairloop.generators")
_THE_ONLY_ONE = "embedded"  # GENERATOR_MODEL's default, which no server knows
_PATIENCE_SECONDS = 900  # for a server that hangs: openai's own 600 s for an answer, and half of another try
_LOOK_SECONDS = 0.05  # how soon it notices an urgent job, or the end of the process
_MAX_STOPS = 4  # https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop


class OpenAIGenerator:
    """Has a server write; each job is one request at a time, and OPENAI_CONCURRENCY jobs are under way together."""

    def __init__(
        self, settings: Settings, *, max_retries: int = MAX_RETRIES, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Asks the server which models it serves. `patience_seconds`: for one call with all its retries.

        Raises:
            ModelError: it cannot be reached, does not accept the key, or does not serve exactly one while none is named.
        """
        self._settings, self._patience_seconds = settings, patience_seconds
        self._server = OpenAIServer(settings.openai, max_retries=max_retries)
        self._serves_n, self._limit = True, "max_tokens"
        self._num_thinking_tokens = 0  # beside those of the answer
        self._num_writing = 0
        self.capacity = settings.openai.concurrency
        served, named = self._server.models(), settings.generator.model
        if named == _THE_ONLY_ONE and len(served) != 1:
            models = f"{len(served)} models ({', '.join(served[:20])})" if served else "no model"
            raise ModelError(f"{self._server} lists {models}; set GENERATOR_MODEL to the one that shall write.")
        self.name = served[0] if named == _THE_ONLY_ONE else named
        self.sampling: dict[str, Any] = {
            "temperature": settings.generator.temperature, "top_p": settings.generator.top_p, "max_new_tokens": settings.generator.max_new_tokens,
            "endpoint": settings.openai.endpoint, **settings.generator.template_options,
        }  # fmt: skip
        if settings.generator.system_prompt:
            self.sampling["system_prompt"] = settings.generator.system_prompt
        self._adapters = ServedAdapters(self._server, self.name)
        logger.info("generator %s at %s: %d requests at a time", self.name, self._server, self.capacity)

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs; see Generator."""
        asyncio.run(self._run(jobs))

    async def _run(self, jobs: Jobs) -> None:
        waiting: list[Job] = []  # for a seat: urgent jobs are taken beyond the count
        running: set[asyncio.Task[None]] = set()
        looking = asyncio.Lock()
        async with self._server.client() as client:
            try:
                while not jobs.is_stopped:
                    waiting += jobs.take(max(0, self.capacity - len(running) - len(waiting)))
                    waiting.sort(key=lambda job: not job.is_urgent)
                    while waiting and len(running) < self.capacity:
                        running.add(asyncio.create_task(self._write(client, waiting.pop(0), jobs, looking)))
                    if not running:
                        return
                    done, running = await asyncio.wait(running, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.gather(*done)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _write(self, client: AsyncOpenAI, job: Job, jobs: Jobs, looking: asyncio.Lock) -> None:
        try:
            answers = await self._written(client, job, jobs, looking)
        except (APIError, TimeoutError, ValueError) as error:
            if not isinstance(error, APIStatusError) or error.status_code not in REFUSALS:
                raise self._failure(error, job.prompt) from error
            answers = WrittenAnswers(
                [], refused=f"the server refused the prompt ({error.status_code}): {reason_of(error, _texts(job.prompt))}"
            )
        job.finish(answers)

    async def _written(self, client: AsyncOpenAI, job: Job, jobs: Jobs, looking: asyncio.Lock) -> WrittenAnswers:
        """The answers of the version that the job asks for; of the base if the server cannot write with that one."""
        for _ in range(2):
            name = "" if job.adapter is None else await self._adapters.name_of(client, job.adapter, looking)
            if job.adapter is None or not name:
                break
            try:
                return self._answers(await self._choices(client, job, jobs, name), version=job.adapter.version)
            except NotFoundError:  # the server restarted, and has only what it was started with
                self._adapters.forget(job.adapter)
        return self._answers(await self._choices(client, replace(job, adapter=None), jobs, self.name))

    async def _choices(self, client: AsyncOpenAI, job: Job, jobs: Jobs, model: str) -> list[Any]:
        """As many choices as the job wants: in one call, or in one call each if the server does not know `n`."""
        choices: list[Any] = []
        if self._serves_n and job.num_answers > 1:
            try:
                choices = await self._ask(client, job, jobs, model, seed=job.seed, n=job.num_answers)
            except (BadRequestError, UnprocessableEntityError):
                choices = await self._ask(client, job, jobs, model, seed=job.seed)  # raises if it refused something else than `n`
            if len(choices) < job.num_answers and self._serves_n:
                self._serves_n = False
                logger.info("%s gives one answer a call: it is asked for each answer", self._server)
        while len(choices) < job.num_answers:
            choices += await self._ask(client, job, jobs, model, seed=job.seed + len(choices))
        return choices[: job.num_answers]

    async def _ask(self, client: AsyncOpenAI, job: Job, jobs: Jobs, model: str, *, seed: int, n: int = 1) -> list[Any]:
        """One call's choices, at least one."""
        create: Any = client.chat.completions.create if self._is_chat else client.completions.create
        request = self._request(job) | {"model": model, "seed": seed % 2**31} | ({"n": n} if n > 1 else {})
        generation = self._settings.generator
        while True:
            limit, num_thinking_tokens = self._limit, self._num_thinking_tokens
            self._num_writing += n
            try:
                async with asyncio.timeout(self._patience_seconds):
                    answer = await create(**request, **{limit: generation.max_new_tokens + num_thinking_tokens})
                choices: list[Any] = getattr(answer, "choices", None) or []
                if not choices:
                    raise ValueError("no choices")
                num_words = sum(len(self._text(choice).split()) for choice in choices)
                num_tokens = answer.usage.completion_tokens if answer.usage else None
                jobs.report(num_tokens=num_words if num_tokens is None else num_tokens, batch_size=self._num_writing)
                thoughtful = [choice for choice in choices if self._answer(choice).thought]
                if thoughtful and not self._num_thinking_tokens and generation.max_thinking_tokens:
                    self._num_thinking_tokens = generation.max_thinking_tokens
                    logger.info("%s thinks before it answers: it may do so for %d tokens", self.name, self._num_thinking_tokens)
                if num_thinking_tokens < self._num_thinking_tokens and any(choice.finish_reason in CUT for choice in thoughtful):
                    continue
                return choices
            except BadRequestError as error:
                if limit != "max_tokens" or not wants_other_limit(error):
                    raise
                self._limit = "max_completion_tokens"
            finally:
                self._num_writing -= n

    @property
    def _is_chat(self) -> bool:
        return self._settings.openai.endpoint == "chat"

    def _request(self, job: Job) -> dict[str, Any]:
        settings, turns = self._settings, turns_of(job.prompt, system=self._settings.generator.system_prompt)
        prefix = job.adapter.answer_prefix if job.adapter else ""
        body: dict[str, Any] = {}
        request: dict[str, Any] = {
            "temperature": settings.generator.temperature,
            "top_p": settings.generator.top_p,
        }
        if settings.generator.stop:
            request["stop"] = list(settings.generator.stop[:_MAX_STOPS])
        if not self._is_chat:
            return request | {"prompt": f"{to_be_continued(turns)}\n\n{prefix}" if prefix else to_be_continued(turns)}
        if settings.generator.template_options:  # as vLLM, SGLang and llama.cpp have it
            body["chat_template_kwargs"] = settings.generator.template_options
        if prefix:  # as vLLM and SGLang have it
            turns = (*turns, Turn("assistant", prefix))
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return request | {"messages": messages(turns)} | ({"extra_body": body} if body else {})

    def _text(self, choice: Any) -> str:
        return (choice.message.content if self._is_chat else choice.text) or ""

    def _answers(self, choices: list[Any], *, version: str = "") -> WrittenAnswers:
        answers = [self._answer(choice) for choice in choices]
        if not any(answer.text for answer in answers) and any(choice.finish_reason == "content_filter" for choice in choices):
            return WrittenAnswers([], refused="the server refused the prompt: its content filter let no answer through")
        return WrittenAnswers.of(answers, version=version)

    def _answer(self, choice: Any) -> Answer:
        thought, text = split_thought(self._text(choice), is_begun=None)
        if self._is_chat:  # a server that takes the thought apart itself: vLLM's older name and its newer one
            apart = getattr(choice.message, "reasoning_content", None) or getattr(choice.message, "reasoning", None)
            thought = apart if isinstance(apart, str) and apart else thought
        reason = choice.finish_reason if isinstance(choice.finish_reason, str) else ""
        # Some servers keep the stop text, and they got four of them at most.
        whole = min((text.split(stop, 1)[0] for stop in self._settings.generator.stop), key=len, default=text)
        return Answer(whole.strip(), "stop" if len(whole) < len(text) else reason, thought)

    def _failure(self, error: Exception, prompt: Prompt) -> ModelError:
        return self._server.failure(error, model=self.name, texts=_texts(prompt))


def _texts(prompt: Prompt) -> list[str]:
    return [turn.text for turn in turns_of(prompt)]
