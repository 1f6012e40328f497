"""Tokens a second of the generator, beside the tutorial's way: a pipeline, one prompt at a time, two answers each."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, pipeline

from backend.generators.huggingface import HuggingFaceGenerator
from benchmarks.row import Row
from demo.stack import REPOSITORY
from preference.backbone import load_tokenizer, load_weights, locate, quiet_transformers
from preference.settings import Settings

_NUM_PROMPTS = 32
_PIPELINE_PROMPTS = 6  # it is slow; its rate does not depend on how many come after each other
_MAX_NEW_TOKENS = 48


def run(console: Console) -> list[Row]:
    """One row: ours, with the pipeline as the baseline. Both on one CPU thread, or on the GPU."""
    quiet_transformers()
    torch.set_num_threads(1)
    model_dir = REPOSITORY / ".cache" / "bench-models"
    settings = Settings.from_environ({"MODEL_DIR": str(model_dir), "MAX_NEW_TOKENS": str(_MAX_NEW_TOKENS), "BATCH_PROMPTS": "32"})
    prompts = (REPOSITORY / "demo" / "prompts.txt").read_text(encoding="utf-8").splitlines()[:_NUM_PROMPTS]
    generator = HuggingFaceGenerator(settings)
    generator.generate(prompts[:2], seeds=[0, 1])  # warm
    console.print(f"ours: {_NUM_PROMPTS} prompts, 2 answers each")
    started = time.perf_counter()
    written = generator.generate(prompts, seeds=range(len(prompts)))
    ours = time.perf_counter() - started
    tokenizer = load_tokenizer(locate("embedded", model_dir))
    our_rate = _num_tokens(tokenizer, [text for writing in written for text in writing.answers]) / ours
    console.print(f"pipeline: {_PIPELINE_PROMPTS} prompts, 2 answers each")
    device = 0 if torch.cuda.is_available() else -1
    model = load_weights(AutoModelForCausalLM, locate("embedded", model_dir), dtype=torch.float32)
    make_pipeline: Any = pipeline  # its overloads do not cover a loaded model
    tutorial = make_pipeline("text-generation", model=model, tokenizer=tokenizer, device=device)
    options = {"num_return_sequences": 2, "do_sample": True, "temperature": 0.7, "top_k": 50, "max_new_tokens": _MAX_NEW_TOKENS}
    started = time.perf_counter()
    texts = [
        answer["generated_text"][-1]["content"]
        for prompt in prompts[:_PIPELINE_PROMPTS]
        for answer in tutorial([{"role": "user", "content": prompt}], **options)
    ]
    their_rate = _num_tokens(tokenizer, texts) / (time.perf_counter() - started)
    return [Row("generation, embedded model", our_rate, "tokens/s", their_rate, "pipeline, one prompt at a time")]


def _num_tokens(tokenizer: Any, texts: Sequence[str]) -> int:
    return sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
