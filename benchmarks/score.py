"""Rewards for other programs: answers a CPU second, in process and over HTTP, beside transformers' own pipeline on the same base."""

import json
import resource
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import torch
from rich.console import Console
from transformers import AutoModelForSequenceClassification, pipeline

from benchmarks.row import Row
from benchmarks.servers import PROJECT, ours, serving, trained
from preference import load_reward_model
from preference.models.pretrained import load_tokenizer, load_weights, locate

_CLIENTS = 16  # of those that send one answer at a time
_LONGEST = 1024  # tokens, as Pairloop's
T = TypeVar("T")


def run(console: Console) -> list[Row]:
    """One model, the same answers, one thread of torch each."""
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        model_dir, path = trained(scratch)
        rows = [(prompt, answer) for prompt, *answers in json.loads(path.read_text(encoding="utf-8")) for answer in answers]
        texts = [_marked(prompt, answer) for prompt, answer in rows]
        console.print(f"{len(texts)} answers, with their prompts {sum(map(len, texts)) // len(texts)} characters long")
        pipelined = _rate(texts, _own_seconds, _pipeline(locate("embedded", model_dir)))
        model = load_reward_model(str(PROJECT), model_dir=model_dir)
        in_process = _rate(rows, _own_seconds, model.score_all)
        server = ours(scratch, model_dir)
        with serving(server, model_dir) as url, ThreadPoolExecutor(_CLIENTS) as clients:
            address = f"{url}/projects/{PROJECT}/get_reward"

            def seconds() -> float:
                return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(server.pid).children())

            together = _rate(texts, seconds, lambda some: _post(address, some))
            alone = _rate(texts, seconds, lambda some: list(clients.map(lambda text: _post(address, [text]), some)))
    named = {
        "in process": in_process,
        "get_reward, one request": together,
        f"get_reward, one answer a request, {_CLIENTS} clients": alone,
    }
    return [
        Row(f"rewards, {name}", rate, "answers per CPU second", pipelined, "transformers' text-classification pipeline")
        for name, rate in named.items()
    ]


def _pipeline(base: str) -> Callable[[Sequence[str]], object]:
    """What reads texts with all layers of the base, and a head of random weights."""
    tokenizer = load_tokenizer(base)
    network = load_weights(AutoModelForSequenceClassification, base, num_labels=1, dtype=torch.float32)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    classify: Any = pipeline("text-classification", model=network, tokenizer=tokenizer, function_to_apply="none")  # type: ignore[call-overload]
    return lambda texts: classify(list(texts), batch_size=8, truncation=True, max_length=_LONGEST)


def _post(address: str, texts: Sequence[str]) -> None:
    rewards = httpx.post(address, json={"query": list(texts)}, timeout=300).raise_for_status().json()["rewards"]
    if len(rewards) != len(texts):
        raise RuntimeError(f"{len(rewards)} rewards for {len(texts)} answers")


def _rate(answers: Sequence[T], seconds: Callable[[], float], work: Callable[[Sequence[T]], object]) -> float:
    """Answers a CPU second."""
    work(answers[:2])  # what is loaded at the first call
    before = seconds()
    work(answers)
    return len(answers) / (seconds() - before)


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _marked(prompt: str, answer: str) -> str:
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"
