"""The steps of a training over texts that were read once, and how many there is time for."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch

from preference.errors import CannotLearn, TrainingError
from preference.formatting import duration
from trainer.generator_training.checkpoints import Checkpoints, Progress
from trainer.generator_training.objectives import LOSSES, ReadPair, margin, reference_point
from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.top_layers import TopLayers
from trainer.training.memory_plan import F32, MemoryPlan, size_in_words
from trainer.training.progress import Report

logger = logging.getLogger("pairloop.aligning")
_DRIFT_STEPS = 8  # whose mean drift counts: that of one step's pairs is noise
_LEAST_STEPS = 8  # with fewer, little more than the warm-up is done
LINE_SECONDS = 30.0  # between two lines of the log that say how far it is
_T = TypeVar("_T")


@dataclass(frozen=True)
class Budget:
    """What a training will take."""

    num_steps: int
    num_wanted: int  # steps for all passes over the pairs
    seconds_a_step: float
    pairs_a_step: int
    memory: MemoryPlan

    @property
    def seconds(self) -> float:
        """The time of all steps."""
        return self.num_steps * self.seconds_a_step

    def __str__(self) -> str:
        cut = "" if self.num_steps == self.num_wanted else f" of {self.num_wanted}, which would take longer than ALIGN_MINUTES"
        return (
            f"{self.num_steps} steps{cut}, {self.pairs_a_step} {self.memory.unit}s each, {self.seconds_a_step:.1f} s a step (measured): "
            f"about {duration(self.seconds)}; it takes {self.memory}"
        )


def plan(
    layers: TopLayers, pairs: Sequence[ReadPair], recipe: AlignRecipe, *, most_seconds: float,
    clock: Callable[[], float] = time.monotonic, free: float = math.inf,
) -> Budget:  # fmt: skip
    """How many steps there is time for, from one that is done twice and taken back; and the memory that they take.

    `free`: bytes, beside the model and what was read.

    Raises:
        CannotLearn: there is no time for even a few.
        TrainingError: it does not fit into the memory.
    """
    by_length = sorted(pairs, key=lambda pair: pair.num_tokens)
    middle = by_length[len(by_length) // 2]
    memory = _memory(layers, pairs, by_length[-1], recipe)
    free += memory.weights + memory.texts
    if not memory.fits(free):
        raise TrainingError(
            f"Learning by {recipe.method} takes {memory}, and {size_in_words(free)} are free; name a smaller GENERATOR_MODEL, or lower "
            "MAX_PROMPT_TOKENS or MAX_NEW_TOKENS."
        )
    for _ in range(2):  # the first one also chooses kernels and takes memory
        began = clock()
        LOSSES[recipe.method](layers, middle, recipe, reference_point(layers, [middle])).loss.backward()
        seconds = (clock() - began) * recipe.pairs_a_step
    _forget(layers)
    num_wanted = max(1, math.ceil(recipe.epochs * len(pairs) / recipe.pairs_a_step))
    num_steps = min(num_wanted, int(most_seconds / seconds)) if seconds > 0 else num_wanted
    if num_steps < min(num_wanted, _LEAST_STEPS):
        raise CannotLearn(
            f"A step takes {seconds:.1f} s, so {duration(most_seconds)} have room for {num_steps} of {num_wanted} steps; "
            "raise ALIGN_MINUTES, or name a smaller GENERATOR_MODEL."
        )
    return Budget(num_steps, num_wanted, seconds, recipe.pairs_a_step, memory)


def train(
    layers: TopLayers, pairs: Sequence[ReadPair], recipe: AlignRecipe, *, num_steps: int, seed: int, most_seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic, checkpoints: Checkpoints | None = None,
    report: Report | None = None,
) -> int:  # fmt: skip
    """The number of steps done: `num_steps`, or those after which it was `most_drift` from its base, or the time was up.

    With `checkpoints`, it goes on after those of a training that was killed, and to the number of steps that was decided then.

    Raises:
        TrainingError: the loss became no number.
    """
    optimizer = torch.optim.AdamW(layers.weights, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    kept = checkpoints.restore(layers.weights, optimizer) if checkpoints else None
    first, num_steps, spent = (kept.step, kept.num_steps, kept.seconds) if kept else (0, num_steps, 0.0)
    last_line = clock()
    began = last_line - spent
    losses: list[float] = []
    drifts = deque(kept.drifts if kept else (), maxlen=_DRIFT_STEPS)
    for step, batch in islice(enumerate(batches(pairs, recipe.pairs_a_step, num_steps, seed=seed)), first, None):
        if clock() - began > most_seconds:
            logger.warning("the time is up after %d of %d steps", step, num_steps)
            return step
        if len(drifts) == _DRIFT_STEPS and (drift := sum(drifts) / _DRIFT_STEPS) > recipe.most_drift:
            logger.info("it is far enough from its base after %d of %d steps (%.2f nats a token)", step, num_steps, drift)
            return step
        rate = learning_rate(step, num_steps, recipe)
        loss, drift = _step(layers, batch, recipe, optimizer, rate=rate)
        losses.append(loss)
        drifts.append(drift)
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"The loss became {losses[-1]} at step {step + 1} of {num_steps}; lower the learning rate of {recipe.method!r} "
                f"({recipe.learning_rate:g}) in trainer/generator_training/recipe.py, or look for damaged weights in GENERATOR_MODEL."
            )
        if report is not None:
            measured = (
                {"drift": drift} if batch[0].rejected is not None else {}
            )  # nothing tells how far what reads single texts is
            report(step + 1, {"loss": loss, "learning_rate": rate, **measured})
        if clock() - last_line >= LINE_SECONDS:
            remaining = (clock() - began) / (step + 1) * (num_steps - step - 1)
            mean = sum(losses) / len(losses)
            logger.info("aligning: step %d of %d, loss %.2f, about %s to go", step + 1, num_steps, mean, duration(remaining))
            last_line, losses = clock(), []
        if checkpoints is not None:
            checkpoints.keep(layers.weights, optimizer, Progress(step + 1, num_steps, clock() - began, list(drifts)))
    return num_steps


@torch.no_grad()
def mean_margin(layers: TopLayers, pairs: Sequence[ReadPair]) -> float:
    """By how much more the chosen answer of a pair gained than the rejected one, as a log-probability; 0 before the first step."""
    return sum(float(margin(layers, pair)) for pair in pairs) / max(1, len(pairs))


def batches(items: Sequence[_T], size: int, num_steps: int, *, seed: int) -> Iterator[list[_T]]:
    """So many batches; each pass over the items has an order of its own, and the next begins where one ends."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(num_steps):
        while len(order) < size:
            order += torch.randperm(len(items), generator=generator).tolist()
        chosen, order = order[:size], order[size:]
        yield [items[i] for i in chosen]


def learning_rate(step: int, num_steps: int, recipe: AlignRecipe) -> float:
    """The rate of a step, counted from 0: it rises in a line, then falls to a tenth."""
    warm_up = min(recipe.warm_up_steps, num_steps)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    done = (step - warm_up + 1) / max(1, num_steps - warm_up)
    return recipe.learning_rate * (1 - 0.9 * done)


def _memory(layers: TopLayers, pairs: Sequence[ReadPair], longest: ReadPair, recipe: AlignRecipe) -> MemoryPlan:
    """What the training takes: counted, and for the activations measured on the longest pair.

    With the embedded base and pairs of 200 tokens 838 MB are planned in float32, and 553 MB in bfloat16. The process grew by 850 and
    619 MB with MALLOC_MMAP_THRESHOLD_=65536, and by 1138 without, since glibc keeps much of what was freed. Not measured on a GPU.
    """
    learning = F32 * sum(weight.numel() for weight in layers.weights)
    num_tokens = max(len(text.tokens.ids) for pair in pairs for text in pair.texts)
    return MemoryPlan(
        sum(layers.storages.values()),
        learning,
        2 * learning,
        _activations(layers, longest, recipe),
        pairs_at_once=1,
        tokens=num_tokens,
        texts=sum(text.num_bytes for pair in pairs for text in pair.texts),
        unit="text" if longest.rejected is None else "pair",
    )


def _activations(layers: TopLayers, pair: ReadPair, recipe: AlignRecipe) -> int:
    """Bytes of what autograd keeps of one pair for its backward pass, and of the largest gradients in that pass."""
    theirs = {*layers.storages} | {text.hidden.untyped_storage().data_ptr() for text in pair.texts}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in theirs:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # one that knows what it came from would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        LOSSES[recipe.method](layers, pair, recipe, 0.0)
    # The head's numbers for all tokens are the largest: the pass has their gradient twice, before and after the softmax.
    return sum(kept.values()) + 2 * max(kept.values(), default=0)


def _step(
    layers: TopLayers, batch: Sequence[ReadPair], recipe: AlignRecipe, optimizer: torch.optim.Optimizer, *, rate: float
) -> tuple[float, float]:
    """The mean loss of the batch before the step, and its mean drift."""
    total, drift, point = 0.0, 0.0, reference_point(layers, batch)
    for pair in batch:  # one at a time: nothing is padded, and one pair's activations are all that memory holds
        pull = LOSSES[recipe.method](layers, pair, recipe, point)
        (pull.loss / len(batch)).backward()
        total += float(pull.loss.detach())
        drift += pull.drift
    torch.nn.utils.clip_grad_norm_(layers.weights, recipe.most_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    _forget(layers)
    return total / len(batch), drift / len(batch)


def _forget(layers: TopLayers) -> None:
    for weight in layers.weights:
        weight.grad = None
