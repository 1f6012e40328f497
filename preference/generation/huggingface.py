"""Answers from any Hugging Face causal language model that keeps keys and values, many prompts at a time.

Each prompt is read once for all of its answers; an answer that ends leaves the batch, and a queued prompt takes its
place. The free memory decides how many are written together; if that was too many, half as many from then on.
"""

import logging
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from preference.errors import ModelError
from preference.generation.batch import Batch, Prompt
from preference.generation.hardware import num_tokens_that_fit, pick_dtype
from preference.generation.jobs import Job, Jobs, WrittenAnswers
from preference.generation.kv_cache import can_hold
from preference.generation.sampling import SamplingOptions
from preference.models.device import pick_device
from preference.models.encoding import encode_prompt, thinking_tokens
from preference.models.files import title
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.settings import Settings

logger = logging.getLogger("pairloop.generators")
# Answers beyond these are not written faster: a CPU's arithmetic is busy with 128 (measured), a GPU's later.
_MAX_ROWS = {"cpu": 128, "cuda": 512, "mps": 128}


class HuggingFaceGenerator:
    """A causal language model in memory; loads in the constructor."""

    def __init__(self, settings: Settings) -> None:
        generation = settings.generator
        path = locate(generation.model, settings.model_dir)
        device = pick_device(settings.device)
        dtype = pick_dtype(generation.dtype, device)
        self._tokenizer = load_tokenizer(path)
        self._model = load_weights(AutoModelForCausalLM, path, dtype=dtype, device=device)
        if not can_hold(self._model):
            raise ModelError(
                f"{path} is a {self._model.config.model_type} model: it keeps more than keys and values, or has no position ids, "
                "and this engine cannot write with it; run a server that speaks OpenAI's API, and set GENERATOR_ENGINE=openai."
            )
        self._system = generation.system_prompt
        self._template_options = generation.template_options
        self._sampling_options = SamplingOptions(
            temperature=generation.temperature, top_k=generation.top_k, top_p=generation.top_p,
            max_new_tokens=generation.max_new_tokens, stop_tokens=_stop_tokens(self._model, self._tokenizer),
            stop_texts=generation.stop, thinking=thinking_tokens(self._tokenizer, options=self._template_options),
            max_thinking_tokens=generation.max_thinking_tokens,
        )  # fmt: skip
        is_thinker = self._sampling_options.thinking is not None
        window = _window(self._model.config.get_text_config())
        self._max_prompt_tokens = min(generation.max_prompt_tokens, window - self._sampling_options.most_tokens)
        if self._max_prompt_tokens < 16:
            thoughts = f" and MAX_THINKING_TOKENS={generation.max_thinking_tokens} leave" if is_thinker else " leaves"
            raise ModelError(
                f"{path} reads {window} tokens at most; MAX_NEW_TOKENS={generation.max_new_tokens}{thoughts} no room for a prompt."
            )
        self._max_tokens = num_tokens_that_fit(self._model.config, dtype=dtype, device=device)
        self._max_rows = generation.batch_prompts * settings.filling.num_candidates or _MAX_ROWS[device.type]
        self.capacity = max(1, self._max_rows // settings.filling.num_candidates)
        self.name = title(generation.model)
        self.sampling: dict[str, Any] = {
            "temperature": generation.temperature, "top_k": generation.top_k, "top_p": generation.top_p,
            "max_new_tokens": generation.max_new_tokens, **self._template_options,
        }  # fmt: skip
        if is_thinker:
            self.sampling["max_thinking_tokens"] = generation.max_thinking_tokens
        if generation.system_prompt:
            self.sampling["system_prompt"] = generation.system_prompt
        logger.info(
            "generator %s up on %s: up to %d answers at a time, with %d tokens of memory", self.name, device, self._max_rows,
            self._max_tokens,
        )  # fmt: skip

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs; see Generator. While an urgent one is written, the others pause."""
        urgent, others = self._batch(), self._batch()
        while not jobs.is_stopped:
            room = self.capacity
            taken = jobs.take(0 if others.num_queued_prompts > room // 4 else max(1, room - others.num_queued_prompts))
            urgent.add([self._encode(job) for job in taken if job.is_urgent])
            others.add([self._encode(job) for job in taken if not job.is_urgent])
            batch = urgent if urgent.prompts else others
            if not batch.prompts:
                return
            is_too_much = False
            try:
                num_tokens = batch.advance()
                jobs.report(num_tokens=num_tokens, batch_size=batch.num_rows)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    reason = str(error).partition("\n")[0]
                    raise ModelError(f"{self.name} failed on {len(batch.in_use)} prompts ({reason}).") from error
                is_too_much = True
            except MemoryError:
                is_too_much = True
            if is_too_much:  # not inside `except`: while the error is held, so is all that its frames hold
                self._give_way(urgent, others)
                unfinished = [[p.again() for p in b.prompts if not p.job.written.done()] for b in (urgent, others)]
                del batch, urgent, others
                release_memory(self._model.device)
                urgent, others = self._batch(), self._batch()
                urgent.add(unfinished[0])
                others.add(unfinished[1])

    def _batch(self) -> Batch:
        return Batch(self._model, self._tokenizer, self._sampling_options, max_rows=self._max_rows, max_tokens=self._max_tokens)

    def _encode(self, job: Job) -> Prompt:
        ids, num_cut = encode_prompt(
            self._tokenizer, job.prompt, max_tokens=self._max_prompt_tokens, system=self._system, options=self._template_options
        )
        return Prompt(
            job, ids or [self._tokenizer.eos_token_id], num_cut
        )  # without tokens: as at the start of a text in training

    def _give_way(self, *batches: Batch) -> None:
        """After the memory ran out: allows half as many tokens from now on, or refuses the prompt that was too much alone."""
        in_use = [prompt for batch in batches for prompt in batch.in_use]
        if sum(batch.num_sharing for batch in batches) == 1:
            in_use[0].job.finish(WrittenAnswers([], refused="writing it needs more memory than there is"))
            return
        num_tokens = min(self._max_tokens, sum(batch.num_tokens for batch in batches))
        self._max_tokens = num_tokens // 2
        logger.warning(
            "out of memory with %d prompts at a time; from now on with half of their %d tokens", len(in_use), num_tokens
        )


def _window(config: Any) -> int:
    """Tokens that a prompt and its answer may have together."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":  # beyond the original length transformers turns all rows otherwise, at any time
        return int(rope["original_max_position_embeddings"])
    names = ("max_position_embeddings", "max_seq_len")  # the second is MPT's
    return next((int(length) for name in names if (length := getattr(config, name, None))), 1 << 30)


def _stop_tokens(model: Any, tokenizer: Any) -> torch.Tensor:
    configured = getattr(model.generation_config, "eos_token_id", None)
    stops = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    return torch.tensor(sorted(stops), device=model.device)
