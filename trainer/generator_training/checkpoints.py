"""How far the steps of an alignment are, kept every few minutes, so that a kill costs no more than those.

One file that is replaced whole: the weights that learn and what the optimizer keeps of each, and in its metadata how far they are.
The order of the pairs, or of the prompts, is the seed's, so that what is left of it need not be kept.

Covered: a kill at any time; a full disk, which costs a killed alignment's time and not the alignment; a damaged file.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from preference.atomic_files import replacing

logger = logging.getLogger("pairloop.aligning")


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int  # steps done
    num_steps: int  # that it has in all, as was decided when it began
    seconds: float  # that these took
    drifts: list[float] = field(default_factory=list)  # of the latest steps, if it ends by them


class Checkpoints:
    """The checkpoint of one training: what it goes on from after a kill."""

    def __init__(self, path: Path, *, every_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._every, self._clock = path, every_seconds, clock
        self._last = clock()

    def restore(self, weights: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer) -> Progress | None:
        """How far the training was whose weights and optimizer these are now again; None if nothing was kept that can be read."""
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                progress = Progress(**json.loads(file.metadata()["progress"]))
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            own = [kept.pop(f"{number}.weight") for number in range(len(weights))]
            if [weight.shape for weight in own] != [weight.shape for weight in weights]:
                raise ValueError("its weights have other shapes")
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in kept.items():
                number, _, part = name.partition(".")
                state.setdefault(int(number), {})[part] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
            for weight, value in zip(weights, own, strict=True):
                weight.data.copy_(value)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
            logger.warning("%s cannot be read (%s); the training begins anew", self._path, " ".join(str(error).split())[:200])
            return None
        logger.info("going on after step %d of %d", progress.step, progress.num_steps)
        return progress

    def keep(self, weights: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Keeps how far the training is, if it is time for that."""
        if self._clock() - self._last < self._every:
            return
        tensors = {f"{number}.weight": weight.detach() for number, weight in enumerate(weights)}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{part}": torch.as_tensor(value) for part, value in state.items()}
        try:
            # It holds what was learnt from people's texts.
            with replacing(self._path, is_private=True, is_only_writer=True) as temporary:
                save_file(
                    {name: tensor.contiguous() for name, tensor in tensors.items()},
                    temporary,
                    metadata={"progress": json.dumps(asdict(progress))},
                )
        except (OSError, SafetensorError) as error:
            logger.warning("no checkpoint could be written to %s (%s)", self._path, " ".join(str(error).split())[:200])
        self._last = self._clock()
