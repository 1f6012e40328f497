"""What doctor looks at of the models: whether they are there, may be read, are what they are named as, and fit into the memory.

Nothing heavy: only files are looked at.
"""

from collections.abc import Callable

from backend.doctor.check import Check, CheckFailed
from backend.doctor.installation import Installation
from backend.generators.engines import ENGINES
from preference.errors import ModelError
from preference.models.device import pick_device
from preference.models.files import EMBEDDED, check_model_files, check_score_head, read_config, title
from preference.models.number_formats import NF4_BYTES, check_number_format
from preference.models.sizes import memory_for, num_weights

FROZEN_SHARE = 8 / 15  # of the base's layers, which RECIPE=frozen reads (trainer/training/recipes.py)
_GB = 1e9


def _generator(installation: Installation) -> str:
    engine, model = installation.settings.generator.engine, installation.settings.generator.model
    if engine == "huggingface":
        return f"huggingface: {_looked_at('GENERATOR_MODEL', model, check_model_files)}"
    return f"{engine}: {ENGINES[engine](installation.settings).name}"  # which asks the server for its models


def _reward_base(installation: Installation) -> str:
    base, recipe = installation.settings.training.reward_base, installation.settings.training.recipe
    name = _looked_at("REWARD_BASE", base, check_model_files)
    layers, num_bytes = None, 4  # of each number, in float32
    if recipe == "frozen":
        num_bytes = _bytes_of_a_weight(installation)
        if base != EMBEDDED:
            layers = round(FROZEN_SHARE * int(read_config(base).get("num_hidden_layers") or 0)) or None
    elif recipe in ("full", "tutorial"):
        num_bytes = 16  # with its gradient and what Adam keeps of it
    if recipe == "lora":
        taken = _classifier_bytes(installation, base)
    else:
        count = num_weights(base, layers=layers)
        taken = None if count is None else num_bytes * count
    return f"{name}{_fits(installation, 'REWARD_BASE', base, taken, f' with RECIPE={recipe}')}"


def _reward_model(installation: Installation) -> str:
    model = installation.settings.training.reward_model
    if not model:
        return "none is set"
    name = _looked_at("REWARD_MODEL", model, _check_reward_model)
    return f"{name}{_fits(installation, 'REWARD_MODEL', model, _classifier_bytes(installation, model), '')}"


def _check_reward_model(model: str) -> None:
    if model == EMBEDDED:
        raise ModelError("that model writes text; name a reward model")
    check_model_files(model)
    check_score_head(model, read_config(model))


def _looked_at(variable: str, model: str, check: Callable[[str], None]) -> str:
    """The model's name for people, if all is well with its files."""
    try:
        check(model)
    except ModelError as error:
        problem, _, fix = str(error).rpartition("; ")
        raise CheckFailed(f"{variable}={model}: {problem}", fix) from None
    return title(model)


def _fits(installation: Installation, variable: str, model: str, taken: float | None, use: str) -> str:
    """What the weights take, in words; nothing if that is not known."""
    if taken is None:
        return ""
    memory, whose = memory_for(installation.settings.device)
    if taken >= memory:
        raise CheckFailed(
            f"{variable}={model}: its weights take {taken / _GB:.1f} GB{use}, and {whose} has {memory / _GB:.1f} GB",
            "take a smaller model, a RECIPE that takes less (docs/recipes.md), or more memory",
        )
    return f": its weights take {taken / _GB:.1f} of {memory / _GB:.1f} GB of {whose}{use}"


def _classifier_bytes(installation: Installation, model: str) -> float | None:
    """Of a sequence classifier that is only read; None if that is not known."""
    asked, count = installation.settings.training.reward_dtype, num_weights(model)
    if asked == "nf4":
        try:
            check_number_format(asked)
        except ModelError as error:
            problem, _, fix = str(error).rpartition("; ")
            raise CheckFailed(problem, fix) from None
    if count is None:
        return None
    if asked == "nf4":
        outside = num_weights(model, layers=0) or 0  # the embeddings, in bfloat16
        return 2 * outside + NF4_BYTES * (count - outside)
    return _bytes_of_a_weight(installation) * count


def _bytes_of_a_weight(installation: Installation) -> int:
    """Of a model that is only read, and not quantized. On a CPU that nobody has timed, `auto` may be less."""
    asked, device = installation.settings.training.reward_dtype, installation.settings.device
    if asked == "auto" and memory_for(device)[1] == "the GPU":
        from preference.models.hardware import reward_dtype  # torch, which memory_for has loaded for the GPU

        asked = reward_dtype(asked, pick_device(device))
    return 2 if asked == "bfloat16" else 4


MODEL_CHECKS: tuple[Check[Installation], ...] = (
    Check("generator", _generator),
    Check("reward base", _reward_base, needs=["device"]),
    Check("reward model", _reward_model, needs=["device"]),
)
