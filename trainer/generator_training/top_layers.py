"""A causal language model whose top layers learn, through adapters, while the layers below them are read once for each text.

The only file of this room with PEFT. TRL's DPOTrainer is not used here: its step runs every layer on padded token ids, so that one
of four pairs costs seven times as much on a CPU, and its collator takes nothing but ids in their place (TRL 1.16, `_compute_loss`).

Not covered: an architecture whose upper layers take more from the lower ones than what the layer before gives (keys of another layer,
say); it is refused.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from preference.errors import CannotLearn
from preference.generation.log_probs import log_probs
from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.two_answers import log_probs_of_two, takes_two_answers

_SAME = 1e-3  # of log-probability a token: more than rounding in float32; bfloat16 has its own
_SAME_IN_HALF = 5e-2


@dataclass(frozen=True)
class Tokens:
    """A prompt and an answer to it; the answer's tokens are ids[start:], without those of a marker that stands among them."""

    ids: list[int]
    start: int
    marker: range = range(0)  # places in ids

    @property
    def num_learnt(self) -> int:
        """Tokens of the answer."""
        return len(self.ids) - self.start - len(self.marker)


@dataclass(frozen=True, eq=False)
class ReadText:
    """A text as the layers below give it, and how likely the base holds its answer."""

    tokens: Tokens
    hidden: torch.Tensor  # (1, len(ids) - 1, hidden size) what the first layer that learns gets
    reference: float  # the log-probability of the whole answer, by the same path as the one that learns

    @property
    def num_bytes(self) -> int:
        """The memory that it takes."""
        return self.hidden.numel() * self.hidden.element_size()


class TopLayers:
    """The model, its adapters, and which layers have some."""

    def __init__(self, model: PreTrainedModel, recipe: AlignRecipe, *, seed: int) -> None:
        """`model` is changed: its top layers get adapters, which change nothing yet.

        Raises:
            CannotLearn: it has no layers that adapters can be put on.
        """
        self._layers = _layers(model)
        config = adapters_on(model, recipe)
        self.first = min(config.layers_to_transform)
        torch.manual_seed(seed)  # one of an adapter's two matrices begins with random numbers, the other with zeros
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5.23 by a name that it is about to drop
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            self._adapted: PeftModel = get_peft_model(model, config)
        self._network = model
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._gives_tuples = False  # whether its layers do, as some architectures' still do
        self._takes_two = takes_two_answers(model)
        self._is_checked = False

    @property
    def storages(self) -> dict[int, int]:
        """The memory of the model and its adapters: how many bytes lie where."""
        storages = (weight.untyped_storage() for weight in self._network.parameters())
        return {storage.data_ptr(): storage.nbytes() for storage in storages}

    @torch.no_grad()
    def read(self, tokens: Tokens) -> ReadText:
        """Runs the whole model once; called before the first step, while the adapters change nothing.

        Raises:
            CannotLearn: the top layers alone do not give what the whole model gives.
        """
        with self._reading() as given:
            reference = float(self._log_prob(tokens))
        text = ReadText(tokens, given[0].clone(), reference)
        if not self._is_checked:
            self._check(text)
            self._is_checked = True
        return text

    @torch.no_grad()
    def read_two(self, first: Tokens, second: Tokens) -> tuple[ReadText, ReadText]:
        """Two answers to one prompt, as `read` reads each; the prompt is computed once if the network lets us."""
        if not self._is_checked:  # which also finds out how the two are to be computed, for good
            self.read(first)
        if not self._are_together(first, second):
            return self.read(first), self.read(second)
        with self._reading() as given:
            references = [float(likely.sum()) for likely in self._log_probs_of_two(first, second)]
        prompt, of_first, of_second = given[0].split(
            [first.start, len(first.ids) - 1 - first.start, len(second.ids) - 1 - first.start], 1
        )
        return (
            ReadText(first, torch.cat([prompt, of_first], 1), references[0]),
            ReadText(second, torch.cat([prompt, of_second], 1), references[1]),
        )

    @contextmanager
    def _reading(self) -> Iterator[list[torch.Tensor]]:
        """Within it, what the first layer that learns is given is kept in the list."""
        given: list[torch.Tensor] = []

        def keep(layer: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            given.append(args[0] if args else options["hidden_states"])

        def look(layer: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._gives_tuples = isinstance(output, tuple)

        with (
            self._layers[self.first].register_forward_pre_hook(keep, with_kwargs=True),
            self._layers[0].register_forward_hook(look),
        ):
            yield given

    def log_prob(self, text: ReadText) -> torch.Tensor:
        """() the log-probability of the whole answer by the top layers and their adapters."""
        with self._only_top(text.hidden):
            return self._log_prob(text.tokens)

    def log_probs(self, first: ReadText, second: ReadText) -> tuple[torch.Tensor, torch.Tensor]:
        """() and () as `log_prob` gives them for two answers to one prompt, which is computed once if the network lets us."""
        if not self._are_together(first.tokens, second.tokens):
            return self.log_prob(first), self.log_prob(second)
        with self._only_top(torch.cat([first.hidden, second.hidden[:, first.tokens.start :]], 1)):
            of_first, of_second = self._log_probs_of_two(first.tokens, second.tokens)
        return of_first.sum(), of_second.sum()

    def save(self, folder: Path) -> None:
        """Writes the adapters into an existing folder, as peft and vLLM read them."""
        save_adapters(self._adapted, folder)

    def _are_together(self, first: Tokens, second: Tokens) -> bool:
        """Whether they can be computed as one text."""
        are_alike = first.ids[: first.start] == second.ids[: second.start] and not (first.marker or second.marker)
        return self._takes_two and are_alike

    def _log_probs_of_two(self, first: Tokens, second: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        start = first.start
        return log_probs_of_two(self._network, first.ids[:start], first.ids[start:], second.ids[start:])

    def _log_prob(self, tokens: Tokens) -> torch.Tensor:
        likely = log_probs(self._network, tokens.ids, start=tokens.start)  # (len(ids) - start,)
        return likely.sum() - likely[tokens.marker.start - tokens.start : tokens.marker.stop - tokens.start].sum()

    @contextmanager
    def _only_top(self, hidden: torch.Tensor) -> Iterator[None]:
        """Within it, the layers below do nothing, and the first one that learns gets `hidden`.

        All else is the model's own: its masks, its positions, its norm and its head.
        """

        def give(layer: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
            return ((hidden, *args[1:]), options) if args else (args, {**options, "hidden_states": hidden})

        def skip(hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
            return (hidden_states,) if self._gives_tuples else hidden_states

        below = self._layers[: self.first]
        for layer in below:
            layer.__dict__["forward"] = skip
        try:
            with self._layers[self.first].register_forward_pre_hook(give, with_kwargs=True):
                yield
        finally:
            for layer in below:
                del layer.__dict__["forward"]

    def _check(self, text: ReadText) -> None:
        tolerance = (_SAME if text.hidden.dtype == torch.float32 else _SAME_IN_HALF) * text.tokens.num_learnt
        reason = ""
        try:
            alone = float(self.log_prob(text).detach())
            if not abs(alone - text.reference) <= tolerance:
                reason = f"they give {alone:.3f} where the whole model gives {text.reference:.3f}"
        except Exception as error:  # an architecture raises whatever its own code runs into
            reason = type(error).__name__
        try:
            twice = [float(likely.detach()) for likely in self.log_probs(text, text)]
            self._takes_two = self._takes_two and all(abs(likely - text.reference) <= tolerance for likely in twice)
        except Exception:
            self._takes_two = False
        if reason:
            raise CannotLearn(
                f"The top layers of a {self._network.config.model_type} model cannot be trained alone ({reason}); name another GENERATOR_MODEL."
            )


def adapters_on(model: PreTrainedModel, recipe: AlignRecipe) -> Any:
    """peft's configuration of adapters on every linear layer of the top layers, of which the recipe says how many.

    Raises:
        CannotLearn: the model has no layers that adapters can be put on.
    """
    layers = _layers(model)
    first = len(layers) - max(1, round(len(layers) * recipe.share_of_layers)) if layers else 0
    names = {
        name.rpartition(".")[2]
        for layer in layers[first:]
        for name, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    if not names:
        raise CannotLearn(
            f"A {model.config.model_type} model has no linear layers that adapters can be put on; name another GENERATOR_MODEL."
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=round(recipe.scale * recipe.rank),
        target_modules=sorted(names),
        layers_to_transform=list(range(first, len(layers))),
    )


def save_adapters(adapted: PeftModel, folder: Path) -> None:
    """Writes a model's adapters into an existing folder, as peft and vLLM read them."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form that nobody filled in


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a model, whatever their list is called (layers, h, blocks); the first list that there is."""
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    return list(next(lists, torch.nn.ModuleList()))
