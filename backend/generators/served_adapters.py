"""Generator versions on a server of OpenAI's API: which of its models is one, and how vLLM takes one up while it runs.

A server knows a version as `pairloop-<project>-<version>`. An operator may have given it under that name (`vllm serve --lora-modules`);
else, with OPENAI_MODEL_DIR, the server is asked to load it, once.

Covered: a server that restarts and lost what it had loaded; one that cannot load it, or not from there: the base writes meanwhile.
Not covered: a server that has two bases; whether its base is byte for byte the one that the version learnt on. Only names are compared.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from openai import APIError, AsyncOpenAI

from preference.errors import ModelError, PairloopError
from preference.generation.jobs import Adapter
from preference.generation.openai_server import OpenAIServer, reason_of
from preference.log_once import LogOnce
from preference.report_card.generator_card import GeneratorCard

logger = logging.getLogger("pairloop.generators")
_RETRY_SECONDS = 60.0
_LOAD_SECONDS = 120.0  # vLLM reads an adapter within the request


class ServedAdapters:
    """Which versions the server writes with. Used by one event loop at a time."""

    def __init__(self, server: OpenAIServer, model: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`model`: the base's name on the server."""
        self._server, self._model, self._clock = server, model, clock
        self._known: set[Adapter] = set()
        self._next_try: dict[Adapter, float] = {}
        self._log_once = LogOnce()

    async def name_of(self, client: AsyncOpenAI, adapter: Adapter, looking: asyncio.Lock) -> str:
        """What the server calls a version; "" if it cannot write with it now, and the base is to.

        `looking`: of the event loop; so many jobs that wait for a version ask the server for it once.
        """
        async with looking:
            if adapter in self._known:
                return served_name(adapter)
            if self._clock() < self._next_try.get(adapter, 0.0):
                return ""
            try:
                self._check_base(adapter)
                await self._find_or_load(client, adapter)
            except PairloopError as error:
                if self._log_once.is_news(adapter, str(error)):
                    logger.error("%s The base answers meanwhile.", error)
                self._next_try[adapter] = self._clock() + _RETRY_SECONDS
                return ""
            self._known.add(adapter)
            logger.info("%s writes as %s now", self._server, served_name(adapter))
            return served_name(adapter)

    def forget(self, adapter: Adapter) -> None:
        """The server does not know a version any more, so the next job looks for it again."""
        self._known.discard(adapter)

    def _check_base(self, adapter: Adapter) -> None:
        card = GeneratorCard.read(adapter.folder / "card.json")
        if card.base != self._model:
            raise ModelError(
                f"The generator version {adapter.version} learnt on {card.base!r}, and {self._server} writes with {self._model!r}; "
                "serve that one under its name, or let a generator learn on this one."
            )

    async def _find_or_load(self, client: AsyncOpenAI, adapter: Adapter) -> None:
        name = served_name(adapter)
        if name in await self._listed(client):
            return
        model_dir = self._server.settings.model_dir
        if not model_dir:
            raise ModelError(
                f"{self._server} has no model {name}; serve the adapter under that name, or set OPENAI_MODEL_DIR so that vLLM loads it."
            )
        path = f"{model_dir.rstrip('/')}/{'/'.join(adapter.folder.parts[-4:])}"  # projects/<id>/generators/<version>
        try:
            body = {"lora_name": name, "lora_path": path}
            await client.post("/load_lora_adapter", body=body, cast_to=str, options={"timeout": _LOAD_SECONDS, "max_retries": 0})
        except (APIError, TimeoutError) as error:
            if name in await self._listed(client):  # another process asked for it at the same time
                return
            reason = reason_of(error, ()) if hasattr(error, "response") else type(error).__name__
            raise ModelError(
                f"{self._server} does not load the adapter {path} ({reason}); start vLLM with --enable-lora --max-lora-rank 16 and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and look whether OPENAI_MODEL_DIR is MODEL_DIR as it sees it."
            ) from error

    async def _listed(self, client: AsyncOpenAI) -> set[str]:
        try:
            listed: Any = await client.get("/models", cast_to=object)
            return {str(model["id"]) for model in listed["data"]}
        except (APIError, TimeoutError, ValueError, TypeError, KeyError):
            return set()  # what is wrong with the server is said by the request that follows


def served_name(adapter: Adapter) -> str:
    """What a server calls a version: pairloop-<project>-<version>."""
    return f"pairloop-{adapter.folder.parts[-3]}-{adapter.version}"
