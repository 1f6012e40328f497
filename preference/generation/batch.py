"""The answers that a causal language model is writing just now.

Each answer is a row. It joins after its prompt is read, and leaves as soon as it ends, whatever the others do.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicCache

from preference.generation.jobs import Answer, Job, WrittenAnswers
from preference.generation.kv_cache import RowCache
from preference.generation.sampling import SamplingOptions, draw, uniforms
from preference.models.encoding import ThinkingTokens
from preference.models.thoughts import OPENING, split_thought

_PREFILL_TOKENS = 1024  # padded tokens that are read in one pass, at most
_ROW_STATES = ("_draws", "_tokens", "_num_written", "_lengths", "_limits", "_is_thinking")


@dataclass(eq=False)
class Prompt:
    """A job with its tokens, and the answers that it has so far."""

    job: Job
    ids: list[int]
    num_cut: int
    answers: dict[int, Answer] = field(default_factory=dict)

    def again(self) -> "Prompt":
        """The same, without answers; its seed makes the model write them again."""
        return Prompt(self.job, self.ids, self.num_cut)

    def add(self, k: int, answer: Answer) -> None:
        """Keeps the k-th answer; the last one finishes the job."""
        self.answers[k] = answer
        if len(self.answers) == self.job.num_answers:
            version = self.job.adapter.version if self.job.adapter else ""
            answers = [answer for _, answer in sorted(self.answers.items())]
            self.job.finish(WrittenAnswers.of(answers, num_cut=self.num_cut, version=version))


class Batch:
    """Prompts that wait, and at most `max_rows` answers that are being written. Used by one thread."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: SamplingOptions,
        *,
        max_rows: int,
        max_tokens: int,
    ) -> None:
        """`max_tokens`: of all rows together, each counted as long as the longest will be; a single prompt may exceed it."""
        self._model, self._tokenizer, self._sampling = model, tokenizer, sampling
        self._max_rows, self._max_tokens = max_rows, max_tokens
        self._queue: list[Prompt] = []
        self._joining: list[Prompt] = []
        self._rows: list[tuple[Prompt, int]] = []  # whose answer each row is
        self._cache = RowCache()
        self._num_sharing = 0
        self._stops = set(sampling.stop_tokens.tolist())
        self._draws = torch.zeros(max_rows, sampling.most_tokens, device=model.device)
        self._tokens = torch.zeros_like(self._draws, dtype=torch.long)
        self._num_written = torch.zeros(max_rows, dtype=torch.long, device=model.device)
        self._lengths = torch.zeros_like(self._num_written)  # tokens in the cache
        self._limits = torch.zeros_like(self._num_written)  # tokens at which the answer is cut off
        self._is_thinking = torch.zeros_like(self._num_written, dtype=torch.bool)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions, self._takes_logits_to_keep = "position_ids" in accepted, "logits_to_keep" in accepted

    @property
    def num_rows(self) -> int:
        """Answers that are being written."""
        return len(self._rows)

    @property
    def in_use(self) -> list[Prompt]:
        """Prompts whose answers are being written, or just about to be."""
        return list(dict.fromkeys([*(prompt for prompt, _ in self._rows), *self._joining]))

    @property
    def num_tokens(self) -> int:
        """Tokens for which there must be memory until all prompts in use are answered. A row's memory outlives its answer."""
        columns = max((len(prompt.ids) for prompt in self.in_use), default=0) + self._sampling.most_tokens
        return columns * max(self._cache.row_capacity, sum(prompt.job.num_answers for prompt in self.in_use))

    @property
    def num_sharing(self) -> int:
        """Prompts that share the memory: those in use, and those that ended while others were in use."""
        return self._num_sharing if self.in_use else 0

    @property
    def num_queued_prompts(self) -> int:
        """Prompts that have not joined yet."""
        return len(self._queue)

    @property
    def prompts(self) -> list[Prompt]:
        """All prompts whose answers are not complete, each once."""
        return list(dict.fromkeys([*(prompt for prompt, _ in self._rows), *self._queue]))

    def add(self, prompts: Sequence[Prompt]) -> None:
        """Queues prompts for room, behind those that wait already."""
        # Neighbours of one length leave little padding; the longest first, so that the end is not one long row.
        self._queue += sorted(prompts, key=lambda prompt: -len(prompt.ids))

    @torch.inference_mode()
    def advance(self) -> int:
        """The number of tokens written: the first of each prompt that has room to join, and one more of every answer.

        A job is finished as soon as its answers are complete.

        Raises:
            RuntimeError, MemoryError: torch's own, out of memory among them; `prompts` then still holds every prompt.
        """
        num_tokens = 0
        while group := self._next_group():
            self._joining = group
            num_tokens += self._join(group)
            self._joining = []
        return num_tokens + (self._step() if self._rows else 0)

    def _next_group(self) -> list[Prompt]:
        """The prompts to read next, together; none if it is better to wait for more room."""
        group: list[Prompt] = []
        if not self._queue:
            return group
        repeats = self._queue[0].job.num_answers
        if self._rows and self._max_rows - self.num_rows < max(repeats, self._max_rows // 8):
            return group
        columns = self._sampling.most_tokens + max(len(prompt.ids) for prompt in (*dict(self._rows), self._queue[0]))
        for prompt in self._queue:
            columns = max(columns, len(prompt.ids) + self._sampling.most_tokens)
            num_rows = self.num_rows + (len(group) + 1) * repeats
            is_first = not self._rows and not group
            fits = num_rows <= self._max_rows and num_rows * columns <= self._max_tokens
            fits = fits and (not group or (len(group) + 1) * max(len(p.ids) for p in (*group, prompt)) <= _PREFILL_TOKENS)
            if prompt.job.num_answers != repeats or not (fits or is_first):
                break
            group.append(prompt)
        return group

    def _join(self, prompts: Sequence[Prompt]) -> int:
        """Reads these prompts, each once for all its answers, and draws their first tokens."""
        self._num_sharing = len(prompts) + (self._num_sharing if self._rows else 0)
        logits, prefilled = self._prefill([prompt.ids for prompt in prompts])
        repeats = prompts[0].job.num_answers
        first, count = self.num_rows, len(prompts) * repeats
        self._make_rows(first + count)
        lengths = [len(prompt.ids) for prompt in prompts]
        self._cache.join(prefilled, lengths=lengths, repeats=repeats, row_capacity=self._row_capacity(first + count))
        del self._queue[: len(prompts)]
        self._rows += [(prompt, k) for prompt in prompts for k in range(repeats)]
        new = slice(first, first + count)
        draws = [uniforms(prompt.job.seed, k, self._sampling.most_tokens) for prompt in prompts for k in range(repeats)]
        self._draws[new] = torch.stack(draws).to(self._draws.device)
        self._lengths[new] = torch.tensor(lengths, device=self._lengths.device).repeat_interleave(repeats)
        self._num_written[new] = 0
        self._limits[new] = self._sampling.max_new_tokens
        self._is_thinking[new] = self._sampling.thinking is not None and self._sampling.thinking.is_begun
        self._write(new, logits.repeat_interleave(repeats, 0))
        return count

    def _step(self) -> int:
        """Writes one token of every answer."""
        n, width = self.num_rows, self._cache.width
        last = self._tokens[:n].gather(1, self._num_written[:n, None] - 1)  # (n, 1)
        columns = torch.arange(width + 1, device=last.device)
        mask = columns >= (width - self._lengths[:n, None])  # (n, width + 1)
        logits = self._forward(last, mask, self._lengths[:n, None], self._cache.cache)
        self._cache.advance()
        self._lengths[:n] += 1
        self._write(slice(0, n), logits)
        return n

    def _prefill(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, DynamicCache]:
        """Logits of the first new token (num_prompts, vocabulary), and the cache of the left-padded prompts."""
        longest = max(map(len, prompts))
        input_ids = torch.full((len(prompts), longest), self._tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(prompts):
            input_ids[row, longest - len(ids) :] = torch.tensor(ids)
            mask[row, longest - len(ids) :] = 1
        device, cache = self._model.device, DynamicCache()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return self._forward(input_ids.to(device), mask.to(device), positions.to(device), cache), cache

    def _forward(self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Cache) -> torch.Tensor:
        """(num_rows, vocabulary) logits of each row's next token."""
        options: dict[str, Any] = {"position_ids": positions} if self._takes_positions else {}
        if self._takes_logits_to_keep:
            # A tensor copies the last position, a number slices it: bfloat16 on a CPU is 100x slower on a slice (torch 2.13).
            options["logits_to_keep"] = torch.tensor([input_ids.shape[1] - 1], device=input_ids.device)
        output = self._model(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _write(self, rows: slice, logits: torch.Tensor) -> None:
        """Draws a token for each of these rows. A row leaves the batch if the token ends its answer."""
        sampling, written = self._sampling, self._num_written[rows]
        uniform = self._draws[rows].gather(1, written[:, None]).squeeze(1)
        drawn = draw(logits, uniform, temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)
        if sampling.thinking is not None:
            drawn = self._think(rows, drawn, sampling.thinking)
        self._tokens[rows] = self._tokens[rows].scatter(1, written[:, None], drawn[:, None])
        self._num_written[rows] += 1
        is_over = torch.isin(drawn, sampling.stop_tokens) | (self._num_written[rows] == self._limits[rows])
        over = {rows.start + place for place in is_over.nonzero().squeeze(1).tolist()}
        if sampling.stop_texts:
            over |= {row for row in range(rows.start, rows.stop) if self._has_stop_text(row)}
        # From the last to the first: the row that takes a leaving row's place is never one that leaves itself.
        for row in sorted(over, reverse=True):
            self._leave(row)

    def _think(self, rows: slice, drawn: torch.Tensor, tokens: ThinkingTokens) -> torch.Tensor:
        """The tokens that were drawn, with the end of each thought that is as long as it may be; the answer is counted from there."""
        sampling, written = self._sampling, self._num_written[rows]
        is_thinking = self._is_thinking[rows] | ((drawn == tokens.opening) & (written == 0))
        is_opening = ~self._is_thinking[rows] & is_thinking
        drawn = torch.where(is_thinking & ~is_opening & (written >= sampling.max_thinking_tokens), tokens.closing, drawn)
        ends = is_thinking & (drawn == tokens.closing)
        behind = torch.where(ends, written + 1 + sampling.max_new_tokens, self._limits[rows])
        self._limits[rows] = torch.where(is_thinking & ~ends, sampling.most_tokens, behind)
        self._is_thinking[rows] = is_thinking & ~ends
        return drawn

    def _leave(self, row: int) -> None:
        prompt, k = self._rows[row]
        prompt.add(k, self._answer(row))
        last = self._rows.pop()
        if row < len(self._rows):
            self._rows[row] = last
            for name in _ROW_STATES:
                state = getattr(self, name)
                state[row] = state[len(self._rows)]
        self._cache.leave(row, longest=int(self._lengths[: len(self._rows)].max()) if self._rows else 0)

    def _ids(self, row: int) -> list[int]:
        ids: list[int] = self._tokens[row, : int(self._num_written[row])].tolist()
        return ids

    def _answer(self, row: int) -> Answer:
        ids = self._ids(row)
        thought, text = self._texts(ids)
        ends = [place for stop in self._sampling.stop_texts if (place := text.find(stop)) >= 0]
        is_whole = bool(ends) or ids[-1] in self._stops
        return Answer(text[: min(ends, default=len(text))].strip(), "stop" if is_whole else "length", thought)

    def _has_stop_text(self, row: int) -> bool:
        _, text = self._texts(self._ids(row))
        return any(stop in text for stop in self._sampling.stop_texts)

    def _texts(self, ids: list[int]) -> tuple[str, str]:
        """The thought, and what stands behind it, so far."""
        tokens = self._sampling.thinking
        if tokens is None or not (tokens.is_begun or ids[0] == tokens.opening):
            return split_thought(self._decode(ids), is_begun=None)  # the marks may be plain text to the tokenizer
        place = ids.index(tokens.closing) if tokens.closing in ids else len(ids)
        thought, text = self._decode(ids[:place]), self._decode(ids[place + 1 :])  # or, as special tokens, be left out of it
        return thought.strip().removeprefix(OPENING).strip(), text.lstrip()

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _row_capacity(self, num_rows: int) -> int:
        """Rows to make room for in the cache: twice as many as before, so that one prompt alone takes little memory."""
        held = self._cache.row_capacity
        return held if num_rows <= held else max(num_rows, min(len(self._draws), 2 * held))

    def _make_rows(self, num_rows: int) -> None:
        """Makes the buffers larger if there are more rows: one prompt may want more answers than `max_rows`."""
        if num_rows > len(self._draws):
            for name in _ROW_STATES:
                old = getattr(self, name)
                setattr(self, name, torch.cat([old, old.new_zeros(num_rows - len(old), *old.shape[1:])]))
