"""Answers from any Hugging Face causal language model that keeps keys and values, many prompts at a time.

Each prompt is read once for all of its answers; an answer that ends leaves the batch, and a queued prompt takes its
place. The free memory decides how many are written together; if that was too many, half as many from then on. A job names the
generator version that is to write it; all share the base in memory (adapters.py).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from preference.errors import ModelError, PairloopError
from preference.generation.adapters import Adapters
from preference.generation.batch import Batch, Prompt
from preference.generation.hardware import num_tokens_that_fit, pick_dtype
from preference.generation.int8 import check_int8, multiply_in_int8
from preference.generation.jobs import Adapter, Job, Jobs, WrittenAnswers
from preference.generation.kv_cache import can_hold
from preference.generation.log_probs import log_probs
from preference.generation.sampling import SamplingOptions
from preference.labelling.prompts import Prompt as Text
from preference.log_once import LogOnce
from preference.models.device import pick_device
from preference.models.encoding import answer_tokens, encode_prompt, thinking_tokens
from preference.models.files import title
from preference.models.fingerprint import fingerprint
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.report_card.generator_card import GeneratorCard
from preference.settings import Settings

logger = logging.getLogger("pairloop.generators")
# Answers beyond these are not written faster: a CPU's arithmetic is busy with 128 (measured), a GPU's later.
_MAX_ROWS = {"cpu": 128, "cuda": 512, "mps": 128}


_PROMPT = "Which is larger, a lake or an ocean?"  # of the probe
_ANSWER = "An ocean is larger: the biggest lakes would be small bays of one."
_MOST_SEEN = 256  # tokens of it; a template may begin with a system's prompt
# Of a probe's log-probability, in float32 and in fewer bits; an adapter that learnt moves it by more, rounding by less.
_SAME, _SAME_ROUNDED = 0.02, 0.1
_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class _Kind:
    """What is written together."""

    is_urgent: bool
    adapter: Adapter | None


class HuggingFaceGenerator:
    """A causal language model in memory; loads in the constructor."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        generation = settings.generator
        path = locate(generation.model, settings.model_dir)
        device = pick_device(settings.device)
        is_int8 = generation.dtype == "int8"
        if is_int8:
            check_int8(device)
        dtype = pick_dtype(generation.dtype, device)
        self._tokenizer = load_tokenizer(path)
        self._model = load_weights(AutoModelForCausalLM, path, dtype=dtype, device=device, is_shared=True)
        if not can_hold(self._model):
            raise ModelError(
                f"{path} is a {self._model.config.model_type} model: it keeps more than keys and values, or has no position ids, "
                "and this engine cannot write with it; run a server that speaks OpenAI's API, and set GENERATOR_ENGINE=openai."
            )
        self._model_setting, self._model_dir, self._clock = generation.model, settings.model_dir, clock
        if is_int8:
            text = encode_prompt(self._tokenizer, _PROMPT, max_tokens=_MOST_SEEN)[0] + answer_tokens(self._tokenizer, _ANSWER)
            multiply_in_int8(self._model, text)
        self._same = _SAME if dtype == torch.float32 and not is_int8 else _SAME_ROUNDED
        self._adapters, self._log_once = Adapters(self._model), LogOnce()
        self._proven: set[Adapter] = set()
        self._next_try: dict[Adapter, float] = {}  # of those that were refused
        self._system = generation.system_prompt
        self._template_options = generation.template_options
        self._sampling_options = SamplingOptions(
            temperature=generation.temperature, top_k=generation.top_k, top_p=generation.top_p,
            max_new_tokens=generation.max_new_tokens, stop_tokens=_stop_tokens(self._model, self._tokenizer),
            stop_texts=generation.stop, thinking=thinking_tokens(self._tokenizer, options=self._template_options),
            max_thinking_tokens=generation.max_thinking_tokens,
        )  # fmt: skip
        is_thinker = self._sampling_options.thinking is not None
        window = window_of(self._model.config.get_text_config())
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
        """Writes all jobs; see Generator. While an urgent one is written, the others pause.

        Jobs of one generator version are written together, those of another after them.
        """
        batches: dict[_Kind, Batch] = {}
        while not jobs.is_stopped:
            num_queued = sum(batch.num_queued_prompts for kind, batch in batches.items() if not kind.is_urgent)
            taken = jobs.take(0 if num_queued > self.capacity // 4 else max(1, self.capacity - num_queued))
            self._queue(batches, [self._encode(self._with_usable_adapter(job)) for job in taken])
            if not batches:
                return
            kind = min(batches, key=lambda kind: (not kind.is_urgent, not batches[kind].num_rows))
            batch = batches[kind]
            is_too_much = False
            try:
                self._adapters.use(kind.adapter)
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
                self._give_way(*batches.values())
                unfinished = [p.again() for b in batches.values() for p in b.prompts if not p.job.written.done()]
                batches.clear()
                del batch
                release_memory(self._model.device)
                self._queue(batches, unfinished)
            elif not batch.prompts:
                del batches[kind]

    def log_probs(self, prompt: Text, answer: str, *, adapter: Adapter | None = None) -> torch.Tensor:
        """(number of the answer's tokens,) float32 on the CPU: the log-probability of each of them after this prompt.

        For those who own the generator: not while `run` is in another thread.

        Raises:
            ModelError: the adapter cannot be used.
        """
        self._adapters.use(adapter)
        ids, _ = self._prompt_ids(prompt, adapter)
        answer_ids = answer_tokens(self._tokenizer, answer)
        if not answer_ids:
            return torch.zeros(0)
        with torch.inference_mode():
            return log_probs(self._model, [*ids, *answer_ids], start=len(ids)).cpu()

    def take_probe(self, adapter: Adapter | None) -> dict[str, Any]:
        """The `probe` of a generator's card: a fixed prompt and answer, and how likely a token of it is, as a logarithm."""
        return {"prompt": _PROMPT, "answer": _ANSWER, "log_prob": float(self.log_probs(_PROMPT, _ANSWER, adapter=adapter).mean())}

    def check(self, adapter: Adapter) -> None:
        """Looks whether a version computes here what its card says.

        Raises:
            PairloopError: it cannot be read, is of another base, or computes something else.
        """
        card = GeneratorCard.read(adapter.folder / "card.json")
        if card.fingerprint != self.fingerprint:
            raise ModelError(
                f"The generator version {adapter.version} learnt on {card.base!r}, and GENERATOR_MODEL={self._model_setting} is another "
                "base, or other files of that name; set it to that one, or let a generator learn on this one."
            )
        try:
            prompt, answer, expected = card.probe["prompt"], card.probe["answer"], float(card.probe["log_prob"])
        except (KeyError, TypeError, ValueError):
            raise ModelError(f"The card of generator version {adapter.version} has no probe; promote another one.") from None
        found = float(self.log_probs(prompt, answer, adapter=adapter).mean())
        if not abs(found - expected) <= self._same:
            raise ModelError(
                f"The generator version {adapter.version} gives its probe {found:.3f}, its card says {expected:.3f}; "
                "restore its files, or install the libraries that its card names."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Of the base, as cards name it."""
        return fingerprint(self._model_setting, model_dir=self._model_dir)

    def _with_usable_adapter(self, job: Job) -> Job:
        """The job; without its adapter if that is refused: then the base answers, and the answers say so."""
        if job.adapter is None or self._is_usable(job.adapter):
            return job
        return replace(job, adapter=None)

    def _is_usable(self, adapter: Adapter) -> bool:
        if adapter in self._proven:
            return True
        if self._clock() < self._next_try.get(adapter, 0.0):
            return False
        try:
            self.check(adapter)
        except PairloopError as error:
            self._adapters.forget(adapter)
            if self._log_once.is_news(adapter, str(error)):
                logger.error("%s The base answers meanwhile.", error)
            self._next_try[adapter] = self._clock() + _RETRY_SECONDS  # storage may be away for a moment
            return False
        self._proven.add(adapter)
        logger.info("%s writes as %s now", self.name, adapter.version)
        return True

    def _queue(self, batches: "dict[_Kind, Batch]", prompts: Sequence[Prompt]) -> None:
        """Adds prompts to the batch of their kind."""
        by_kind: dict[_Kind, list[Prompt]] = {}
        for prompt in prompts:
            by_kind.setdefault(_Kind(prompt.job.is_urgent, prompt.job.adapter), []).append(prompt)
        for kind, of_kind in by_kind.items():
            batches.setdefault(kind, self._batch()).add(of_kind)

    def _batch(self) -> Batch:
        return Batch(self._model, self._tokenizer, self._sampling_options, max_rows=self._max_rows, max_tokens=self._max_tokens)

    def _encode(self, job: Job) -> Prompt:
        return Prompt(job, *self._prompt_ids(job.prompt, job.adapter))

    def _prompt_ids(self, prompt: Text, adapter: Adapter | None) -> tuple[list[int], int]:
        """(the prompt's tokens, with what this version's answers go on from; how many were cut)."""
        ids, num_cut = encode_prompt(
            self._tokenizer, prompt, max_tokens=self._max_prompt_tokens, system=self._system, options=self._template_options,
            answer_prefix=adapter.answer_prefix if adapter else "",
        )  # fmt: skip
        return ids or [self._tokenizer.eos_token_id], num_cut  # without tokens: as at the start of a text in training

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


def window_of(config: Any) -> int:
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
