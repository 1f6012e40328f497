"""A version as a sequence classifier of transformers': the version itself if it is one, what comes nearest if it is not.

Whatever it is, other programs take its output as it is, so what Pairloop does to the output of a version is in its weights.
"""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from preference.errors import ExportError
from preference.labelling.pairs import PreferencePair
from preference.models.number_formats import COMPUTED_IN
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.reward_model.model import (
    AdapterRewardModel,
    Description,
    FrozenRewardModel,
    RewardModel,
    SequenceRewardModel,
    ShelfRewardModel,
)
from preference.reward_model.shared_base import HEAD, load_classifier
from trainer.classifiers.elsewhere import ReadElsewhere
from trainer.classifiers.exchange_template import exchange_template
from trainer.classifiers.nearest_head import last_states, nearest_head
from trainer.training.lora import merged


@dataclass(frozen=True)
class Classifier:
    """What other programs load."""

    model: ReadElsewhere
    is_the_version: bool  # whether its rewards are the version's, but for a constant; else they are near


def classifier_of(model: RewardModel, pairs: Sequence[PreferencePair], *, model_dir: Path, device: torch.device) -> Classifier:
    """The classifier of a version. `pairs`: those it was trained on, by whose answers what comes nearest is found.

    The weights of a sequence version become the classifier's; it scores no more.

    Raises:
        ExportError: there is no such classifier.
        ModelError: the base cannot be loaded.
    """
    if isinstance(model, FrozenRewardModel):
        return Classifier(_nearest(model, pairs, model_dir=model_dir, device=device), is_the_version=False)
    if isinstance(model, ShelfRewardModel):
        raise ExportError(f"This version is {model.description.base!r} as others trained it, with nothing to export; load that.")
    network: Any = cast(SequenceRewardModel, model).network
    if isinstance(model, AdapterRewardModel):
        network = _merged(model, model_dir)
    return Classifier(_with_scale(model, network.to(device)), is_the_version=is_exact(model))


def is_exact(model: RewardModel) -> bool:
    """Whether a classifier of transformers' can have its rewards. An adapter that learnt over a base in nf4 is merged into the base in bfloat16."""
    return not isinstance(model, FrozenRewardModel) and model.description.dtype != "nf4"


def _merged(model: AdapterRewardModel, model_dir: Path) -> Any:
    """A network of its own, in whose weights the adapter is."""
    read = model.description
    network = load_classifier(locate(read.base, model_dir), revision=read.revision, dtype="float32")
    with tempfile.TemporaryDirectory() as scratch:
        model.adapter.save(Path(scratch))
        return merged(network, Path(scratch)).to(getattr(torch, COMPUTED_IN[read.dtype]))


def _with_scale(model: RewardModel, network: PreTrainedModel) -> ReadElsewhere:
    """The network, whose output is the reward but for a constant."""
    read, head = model.description, _score_head(network)
    with torch.no_grad():
        for weights in head.parameters():
            weights.div_(read.scale)
    described = replace(read, kind="sequence", center=read.center / read.scale, scale=1.0, revision="", dtype="float32")
    return _read_elsewhere(described, network, model.tokenizer)


def _nearest(
    model: FrozenRewardModel, pairs: Sequence[PreferencePair], *, model_dir: Path, device: torch.device
) -> ReadElsewhere:  # fmt: skip
    """The base up to the last layer that the version reads, with the head that comes nearest to its rewards."""
    read = model.description
    path = locate(read.base, model_dir)
    config: Any = AutoConfig.from_pretrained(path, revision=read.revision or "main", trust_remote_code=False)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ExportError(
            f"transformers has no sequence classifier over a base of {config.model_type}; train on another, a Llama or Qwen, say."
        )
    network = load_weights(
        AutoModelForSequenceClassification, path, revision=read.revision, dtype=torch.float32, num_labels=1,
        num_hidden_layers=read.layers[-1], device=device,
    )  # fmt: skip
    config = network.config.get_text_config()
    if getattr(config, "layer_types", None):  # one for each layer, which a loaded config is checked for
        config.layer_types = config.layer_types[: read.layers[-1]]
    head = _score_head(network)
    described = Description("sequence", read.base, read.max_tokens, temperature=read.temperature)
    classifier = _read_elsewhere(described, network, load_tokenizer(path, revision=read.revision))
    exchanges = list(dict.fromkeys((pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)))
    if not exchanges:
        raise ExportError("There are no training answers, by which the nearest classifier is found; judge some tasks first.")
    prompts, answers = zip(*exchanges, strict=True)
    weight = nearest_head(last_states(classifier, head, exchanges), model.score(prompts, answers).double().numpy(), prompts)
    head.weight.copy_(weight[None])
    return classifier


def _read_elsewhere(described: Description, network: PreTrainedModel, tokenizer: Any) -> ReadElsewhere:
    tokenizer = copy.deepcopy(tokenizer)
    if described.closing == "eos":  # else the template closes it, as it does for other programs
        tokenizer.chat_template = exchange_template(tokenizer)
    network.config.problem_type = "regression"  # else the pipeline for text classification gives the sigmoid of the reward
    return ReadElsewhere(described, network, tokenizer)


def _score_head(network: PreTrainedModel) -> torch.nn.Linear:
    head = getattr(network, HEAD, None)
    if not isinstance(head, torch.nn.Linear) or head.out_features != 1:
        raise ExportError(
            f"A {type(network).__name__} has no linear score head, which a reward model for other programs has; "
            "train on a base that has: a Llama, Qwen, Gemma, Mistral or SmolLM, say."
        )
    return head
