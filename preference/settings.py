"""All settings of a process, read from its environment once, when it starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from preference.errors import SettingsError
from preference.setting_fields import Group, advanced
from preference.setting_groups import (
    FillingSettings,
    GeneratorSettings,
    OpenAISettings,
    ServerSettings,
    StudioSettings,
    SuggestingSettings,
    TrainingSettings,
)

_OLDER_NAMES = {"LABEL_STUDIO_HOST": "LABEL_STUDIO_URL"}  # which Label Studio's own examples use


class Settings(Group, title="Both processes"):
    """What one Pairloop process runs with; `settings.studio.url` is the variable LABEL_STUDIO_URL, and so on."""

    model_dir: Path = Field(
        Path("pairloop-models"), description="The folder that backend and trainer share: versions, features, converted weights."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="Where models run: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least severe line that is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="How a log line is written: `text`, or `json`, one object a line with its traceback inside."
    )
    annotator_names: bool = Field(
        True,
        description="Whether dashboard and report call annotators by the name or email address that Label Studio has; if not, by their numbers.",
    )
    seed: int = advanced(0, ge=0, lt=2**32, description="The seed of sampling, of sides and of training.")
    torch_threads: int = advanced(
        0, ge=0, le=256, description="CPU threads of torch in each process; 0 takes half of the cores, but at least one."
    )
    studio: StudioSettings = StudioSettings()
    server: ServerSettings = ServerSettings()
    generator: GeneratorSettings = GeneratorSettings()
    openai: OpenAISettings = OpenAISettings()
    filling: FillingSettings = FillingSettings()
    suggesting: SuggestingSettings = SuggestingSettings()
    training: TrainingSettings = TrainingSettings()

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
        known = [variable.name for variable in variables()]
        given = {name: environ[name].strip() for name in [*known, *_OLDER_NAMES] if environ.get(name, "").strip()}
        problems = []
        if ("BASIC_AUTH_USER" in given) != ("BASIC_AUTH_PASS" in given):
            problems.append("BASIC_AUTH_USER and BASIC_AUTH_PASS go together; set both or neither")
        if given.get("REWARD_DTYPE") == "nf4" and given.get("RECIPE") != "lora":
            problems.append("REWARD_DTYPE=nf4 is for RECIPE=lora; set both, or REWARD_DTYPE=auto")
        values = {_OLDER_NAMES.get(name, name): given[name] for name in reversed(given)}  # a newer name overwrites an older one
        try:
            settings = cls(**_read(cls, values), **{name: _read(group, values) for name, group in _groups().items()})
        except ValidationError as error:
            problems = [_explain(problem, given) for problem in error.errors()] + problems
        if problems:
            raise SettingsError("\n".join(problems))
        return settings

    @classmethod
    def of(cls, **values: Any) -> Self:
        """The defaults but for `values`, which are named as their variables, in small letters: `label_studio_url="..."`."""
        return cls().replace(**values)

    def replace(self, **values: Any) -> Self:
        """A copy with other `values`, named as in `of`."""
        changed = self.model_dump()
        places = {variable.name.lower(): variable for variable in variables()}
        for name, value in values.items():
            place = places.get(name)
            group = changed[place.group] if place and place.group else changed
            group[place.field if place else name] = value
        return type(self)(**changed)

    def value_of(self, variable: "Variable") -> Any:
        """The value of one variable."""
        return getattr(getattr(self, variable.group) if variable.group else self, variable.field)


@dataclass(frozen=True)
class Variable:
    """An environment variable that is a setting."""

    name: str
    subject: str
    group: str  # the attribute of Settings that holds the field; "" if that is Settings itself
    field: str
    default: Any
    description: str
    is_advanced: bool


def variables() -> list[Variable]:
    """Every variable, subject by subject."""
    places: list[tuple[str, type[Group]]] = [("", Settings), *_groups().items()]
    return [
        Variable(
            str(field.validation_alias), str(group.model_config.get("title")), attribute, name, field.default,
            field.description or "", bool(field.json_schema_extra),
        )
        for attribute, group in places
        for name, field in group.model_fields.items()
        if not isinstance(field.default, Group)
    ]  # fmt: skip


def as_markdown() -> str:
    """A table for each subject, and one of what nobody needs to turn: the end of docs/settings.md, which `make docs` writes."""
    of_subject: dict[str, list[Variable]] = {}
    for variable in variables():
        of_subject.setdefault("Advanced" if variable.is_advanced else variable.subject, []).append(variable)
    advanced = of_subject.pop("Advanced")
    parts = ["## All of them", "`make docs` writes these tables from preference/settings.py."]
    for subject, rows in [*of_subject.items(), ("Advanced", advanced)]:
        parts += [f"### {subject}", "\n".join(["| variable | default | what it is |", "|---|---|---|", *map(_row, rows)])]
    return "\n\n".join(parts)


def _row(variable: Variable) -> str:
    default = variable.default.get_secret_value() if isinstance(variable.default, SecretStr) else variable.default
    cell = f" `{default}` " if default not in (None, "", ()) else " "
    return f"| `{variable.name}` |{cell}| {variable.description} |"


def _groups() -> dict[str, type[Group]]:
    return {name: type(field.default) for name, field in Settings.model_fields.items() if isinstance(field.default, Group)}


def _read(group: type[Group], environ: Mapping[str, str]) -> dict[str, Any]:
    """What `environ` holds for the fields of `group` itself."""
    source = EnvSettingsSource(cast("type[BaseSettings]", group), case_sensitive=True)
    source.env_vars = environ
    return source()


def _explain(problem: Any, given: Mapping[str, str]) -> str:
    variable = next(part for part in problem["loc"] if str(part).isupper())
    older = next((older for older, name in _OLDER_NAMES.items() if name == variable), variable)
    value = "****" if any(word in variable for word in ("KEY", "PASS", "SECRET")) else repr(problem["input"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{variable if variable in given else older}={value} is wrong: {message[:1].lower()}{message[1:]}"


if __name__ == "__main__":
    print(as_markdown())  # noqa: T201
