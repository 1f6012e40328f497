"""What other programs get for what they send, in each one's own form. The version that scored is in every answer.

A form that has a field for the project names it there (/score); the others name it in the path: /projects/12/get_reward is the version
that is served, /projects/12@v3/get_reward always that one. The `model` of vLLM's forms is not read: clients fill it with names of theirs.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from backend.contract.request_bodies import read_body
from backend.contract.request_memory import RequestMemory
from backend.contract.reward_bodies import GetRewardBody, PoolingBody, ScoreBody
from backend.rewards_api.marked_texts import exchange_behind, exchange_in
from backend.rewards_api.rewards import Exchange, Rewards, Scorer
from backend.serving.process import Backend
from preference.labelling.prompts import Conversation
from preference.projects.version_name import VersionName
from preference.reward_model.exchanges import answer_of, exchange_of, prompt_of

_MAX_BYTES = 16 * 1024 * 1024
_PREFERENCE_BYTES = 64  # a number, and its JSON while that is made


class RewardRoutes:
    """The routes of one backend."""

    def __init__(self, backend: Backend, memory: RequestMemory) -> None:
        """`memory`: what all requests of the process may take."""
        self._scorer, self._memory = Scorer(backend), memory

    def add_to(self, app: Flask) -> None:
        """Gives the application these routes."""
        app.add_url_rule("/score", view_func=self.score, methods=["POST"])
        for form in (self.get_reward, self.classify, self.pooling):
            app.add_url_rule(f"/projects/<project>/{form.__name__}", view_func=form, methods=["POST"])

    def score(self) -> Response:
        """Our own form: answers to one prompt."""
        with self._memory.share() as share:
            body = read_body(request, ScoreBody, share, max_bytes=_MAX_BYTES)
            share.grow_by(_PREFERENCE_BYTES * len(body.answers) ** 2)
            with _named("prompt" if body.messages is None else "messages"):
                prompt = prompt_of(body.prompt or "" if body.messages is None else body.messages)
            exchanges = [(prompt, answer_of(answer)) for answer in body.answers]
            rewards = self._scorer.score(VersionName(body.project, body.version), lambda added: exchanges)
            return jsonify(
                project=body.project, version=rewards.version, rewards=rewards.of_answers, preferences=rewards.preferences()
            )

    def get_reward(self, project: str) -> Response:
        """OpenRLHF's form, and LLaMA-Factory's: texts of a prompt and its answer each."""
        with self._memory.share() as share:
            body = read_body(request, GetRewardBody, share, max_bytes=_MAX_BYTES)

            def read(added: Conversation) -> list[Exchange]:
                if body.prompts is None:
                    return _exchanges_in(body.query, "query", added)
                behind = enumerate(zip(body.prompts, body.query, strict=True))
                return [
                    _read(f"query.{i}", partial(exchange_behind, prompt, query, added=added)) for i, (prompt, query) in behind
                ]

            rewards = self._scorer.score(_version_in(project), read)
        # `scores` is what is trained on and logged, `extra_logs` what else is logged (openrlhf/utils/agent.py).
        return jsonify(rewards=rewards.of_answers, scores=rewards.of_answers, extra_logs={}, version=rewards.version)

    def classify(self, project: str) -> Response:
        """vLLM's form: `probs` holds one number a text."""
        values, rewards = self._pool(project)
        entries = [{"index": i, "label": "reward", "probs": [value], "num_classes": 1} for i, value in enumerate(values)]
        return _vllm("classify", entries, rewards)

    def pooling(self, project: str) -> Response:
        """vLLM's other form: `data` holds one number a text."""
        values, rewards = self._pool(project)
        return _vllm("pool", [{"index": i, "object": "pooling", "data": [value]} for i, value in enumerate(values)], rewards)

    def _pool(self, project: str) -> tuple[list[float], Rewards]:
        with self._memory.share() as share:
            body = read_body(request, PoolingBody, share, max_bytes=_MAX_BYTES)

            def read(added: Conversation) -> list[Exchange]:
                if body.messages is not None:
                    return [_read("messages", partial(exchange_of, body.messages))]
                return _exchanges_in(body.texts, "input", added)

            rewards = self._scorer.score(_version_in(project), read)
        is_bare = body.use_activation is False
        return [reward if is_bare else _sigmoid(reward) for reward in rewards.of_answers], rewards


def _version_in(project: str) -> VersionName:
    name = VersionName.of_text(project)
    if name is None:
        raise NotFound("The path names no project: it should be /projects/12/... or, for one version, /projects/12@v3/...")
    return name


def _exchanges_in(texts: list[str], field: str, added: Conversation) -> list[Exchange]:
    return [_read(f"{field}.{i}", partial(exchange_in, text, added=added)) for i, text in enumerate(texts)]


def _read(field: str, read: Callable[[], Exchange]) -> Exchange:
    with _named(field):
        return read()


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Refuses a request of which a text is not what it should be, and says which."""
    try:
        yield
    except ValueError as error:
        raise BadRequest(f"{field}: {error}.") from None


def _vllm(kind: str, entries: list[dict[str, Any]], rewards: Rewards) -> Response:
    """As vLLM answers, but for `usage`: tokens are not counted."""
    number = f"{kind}-{uuid.uuid4().hex}"
    return jsonify(id=number, object="list", created=int(time.time()), model=rewards.name, data=entries)


def _sigmoid(reward: float) -> float:
    return 1 / (1 + math.exp(-reward)) if reward >= 0 else 1 - 1 / (1 + math.exp(reward))
