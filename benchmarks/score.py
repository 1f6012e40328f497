"""Rewards for other programs: answers a CPU second, in process and over HTTP, beside transformers' own pipeline on the same base.

SERVE_RM names a Python with OpenRLHF, whose server is then measured on the exported model, too.
"""

import json
import os
import resource
import socket
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
from demo.process import Process
from demo.stack import free_port
from preference import load_reward_model
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.probe import load_version
from trainer.classifiers.model_folder import export_model

_CLIENTS = 16  # of those that send one answer at a time
_TOGETHER = 40  # answers a request: more would not be scored within PREDICT_SECONDS on a busy machine
_LONGEST = 1024  # tokens, as Pairloop's
T = TypeVar("T")


def run(console: Console) -> list[Row]:
    """One model, the same answers, one thread of torch each."""
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        model_dir, path = trained(scratch)
        prompts = json.loads(path.read_text(encoding="utf-8"))
        rows = [(prompt, answer) for prompt, *answers in prompts for answer in answers]
        texts = [_marked(prompt, answer) for prompt, answer in rows]
        console.print(f"{len(texts)} answers, with their prompts {sum(map(len, texts)) // len(texts)} characters long")
        pipelined = _rate(texts, _own_seconds, _pipeline(locate("embedded", model_dir)))
        exported = _exported(scratch, model_dir, prompts)
        rates = {"text-classification pipeline on the exported model": _rate(texts, _own_seconds, _pipeline(str(exported)))}
        model = load_reward_model(str(PROJECT), model_dir=model_dir)
        rates["in process"] = _rate(rows, _own_seconds, model.score_all)
        server = ours(scratch, model_dir, PREDICT_SECONDS="95")
        with serving(server, model_dir) as url, ThreadPoolExecutor(_CLIENTS) as clients:

            def seconds() -> float:
                return sum(_seconds_of(child) for child in psutil.Process(server.pid).children())

            def in_parallel(send: Callable[[Any], None]) -> Callable[[Sequence[Any]], object]:
                return lambda some: list(clients.map(send, some))

            address = f"{url}/projects/{PROJECT}/get_reward"
            rates[f"get_reward, {_TOGETHER} answers a request"] = _rate(texts, seconds, lambda some: _post_all(address, some))
            alone = f"get_reward, one answer a request, {_CLIENTS} clients"
            rates[alone] = _rate(texts, seconds, in_parallel(lambda text: _post(address, [text])))
            of_prompt = f"score, a prompt and its answers a request, {_CLIENTS} clients"
            of_each = len(prompts[0]) - 1
            rates[of_prompt] = of_each * _rate(prompts, seconds, in_parallel(lambda row: _score(f"{url}/score", *row)))
        if python := os.environ.get("SERVE_RM"):
            rates[f"OpenRLHF's serve_rm on the exported model, {_TOGETHER} answers a request"] = _serve_rm(
                python, exported, texts, scratch
            )
        else:
            console.print("score: SERVE_RM names no Python with OpenRLHF, so its server is not measured")
    return [
        Row(
            f"rewards, {name}",
            rate,
            "answers per CPU second",
            pipelined,
            "transformers' text-classification pipeline on the base",
        )
        for name, rate in rates.items()
    ]


def _exported(scratch: Path, model_dir: Path, prompts: Sequence[Sequence[str]]) -> Path:
    """The version as other programs load it."""
    folder, device, path = ProjectFolder(model_dir, PROJECT), torch.device("cpu"), scratch / "exported"
    version = Versions(folder).champion()
    assert version is not None
    model = load_version(folder, version, extractor=Extractors(model_dir, device), device=device)
    pairs = [PreferencePair(prompt, longer, shorter) for prompt, shorter, longer in prompts]
    card = Versions(folder).card(version)
    export_model(model, card, path, train=pairs, holdout=[], model_dir=model_dir, device=device)
    return path


def _pipeline(path: str) -> Callable[[Sequence[str]], object]:
    """What reads texts with all layers of a model; a base has a head of random weights."""
    tokenizer = load_tokenizer(path)
    network = load_weights(AutoModelForSequenceClassification, path, num_labels=1, dtype=torch.float32)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    classify: Any = pipeline("text-classification", model=network, tokenizer=tokenizer, function_to_apply="none")  # type: ignore[call-overload]
    return lambda texts: classify(list(texts), batch_size=8, truncation=True, max_length=_LONGEST)


def _serve_rm(python: str, model: Path, texts: Sequence[str], scratch: Path) -> float:
    """Answers a CPU second of OpenRLHF's server, in bfloat16: it has no float32."""
    port = free_port()
    named = {
        "--reward.model_name_or_path": str(model),
        "--ds.attn_implementation": "eager",
        "--port": str(port),
        "--batch_size": "8",
    }
    command = [python, "-m", "openrlhf.cli.serve_rm", "--host", "127.0.0.1", *(word for pair in named.items() for word in pair)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    server = Process("serve_rm", command, environ, scratch / "serve_rm.log", lambda: _is_listening(port))
    server.start()
    try:
        server.wait_until_up(timeout_seconds=300)
        process = psutil.Process(server.pid)
        return _rate(texts, lambda: _seconds_of(process), lambda some: _post_all(f"http://127.0.0.1:{port}/get_reward", some))
    finally:
        server.stop()


def _seconds_of(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def _score(address: str, prompt: str, *answers: str) -> None:
    body = {"project": PROJECT, "prompt": prompt, "answers": answers}
    rewards = httpx.post(address, json=body, timeout=300).raise_for_status().json()["rewards"]
    if len(rewards) != len(answers):
        raise RuntimeError(f"{len(rewards)} rewards for {len(answers)} answers")


def _post_all(address: str, texts: Sequence[str]) -> None:
    for start in range(0, len(texts), _TOGETHER):
        _post(address, texts[start : start + _TOGETHER])


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


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
