"""docker/, .dockerignore and .env.example as texts: no Docker engine runs here."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner
from pydantic import SecretStr

from backend.__main__ import main as backend_main
from preference.settings import Settings, variables
from tests.conftest import REPOSITORY
from tests.support.dockerfile import instructions
from tests.support.postgresql import PostgreSQL
from trainer.__main__ import main as trainer_main

DOCKERFILES = [REPOSITORY / "docker" / f"{name}.Dockerfile" for name in ("backend", "trainer")]
SETTINGS = {variable.name: variable for variable in variables()}
LABEL_STUDIO_SETTINGS = {"SSRF_PROTECTION_ENABLED", "ML_BLOCK_LOCAL_IP"}
OTHER_PROGRAMS_VARIABLES = {"PATH", "HOME", "PYTHONUNBUFFERED", "HF_HOME", "UV_COMPILE_BYTECODE", "UV_LINK_MODE", "UV_PYTHON"}


def read_compose(name: str) -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker" / name).read_text(encoding="utf-8"))
    return compose


COMPOSE = read_compose("docker-compose.yml")
SERVICES: dict[str, Any] = COMPOSE["services"]
GPU_SERVICES: dict[str, Any] = read_compose("docker-compose.gpu.yml")["services"]
POSTGRESQL_COMPOSE = read_compose("docker-compose.postgresql.yml")


def test_label_studio_may_reach_a_backend_at_a_private_address() -> None:
    environment = SERVICES["label-studio"]["environment"]

    assert environment == {"SSRF_PROTECTION_ENABLED": "false", "ML_BLOCK_LOCAL_IP": "false"}


def test_compose_pins_the_label_studio_that_the_makefile_tests_with() -> None:
    version = re.search(r"^LABEL_STUDIO_VERSION := (\S+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert version is not None
    assert SERVICES["label-studio"]["image"] == f"heartexlabs/label-studio:{version.group(1)}"


def test_every_variable_that_compose_sets_is_one_that_its_program_reads() -> None:
    known = {"label-studio": LABEL_STUDIO_SETTINGS, "backend": set(SETTINGS), "trainer": set(SETTINGS)}

    for name, service in SERVICES.items():
        assert set(service["environment"]) <= known[name], name
    assert not [name for name, service in GPU_SERVICES.items() if "environment" in service]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_variable_that_an_image_sets_is_one_that_a_program_reads(dockerfile: Path) -> None:
    names = {word.split("=")[0] for instruction, words in instructions(dockerfile) if instruction == "ENV" for word in words}

    assert names
    assert names <= set(SETTINGS) | OTHER_PROGRAMS_VARIABLES


@pytest.mark.parametrize("name", ["backend", "trainer"])
def test_what_compose_sets_makes_valid_settings(name: str) -> None:
    settings = Settings.from_environ(SERVICES[name]["environment"])

    assert settings.studio.url == "http://label-studio:8080"
    assert settings.studio.page == "http://localhost:8080", "where the port of Label Studio is published"
    assert settings.model_dir == Path("/models")
    if name == "backend":
        assert (settings.server.host, settings.server.address) == ("0.0.0.0", f"http://backend:{settings.server.port}")


def test_the_env_file_reaches_backend_and_trainer_and_may_be_missing() -> None:
    for name in ("backend", "trainer"):
        assert SERVICES[name]["env_file"] == [{"path": "../.env", "required": False}]
    assert "env_file" not in SERVICES["label-studio"], "Label Studio has no business with our keys"


def test_every_service_has_a_health_check() -> None:
    checks = {name: " ".join(service["healthcheck"]["test"]) for name, service in SERVICES.items()}

    assert "http://127.0.0.1:8080/health" in checks["label-studio"]
    assert f"http://127.0.0.1:{SERVICES['backend']['environment']['PORT']}/health" in checks["backend"]
    assert checks["trainer"] == "CMD pairloop-trainer status --check"
    assert SERVICES["backend"]["depends_on"] == {"label-studio": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", ["label-studio", "backend"])
def test_a_health_check_in_python_compiles(name: str) -> None:
    command = SERVICES[name]["healthcheck"]["test"]

    assert command[:3] == ["CMD", "python", "-c"]
    compile(command[3], name, "exec")


def test_a_starting_container_stops_at_once_and_a_running_round_may_end() -> None:
    assert [SERVICES[name].get("init") for name in ("backend", "trainer")] == [True, True]
    assert [SERVICES[name]["stop_grace_period"] for name in ("backend", "trainer")] == ["40s", "10m"]


def test_one_volume_holds_the_versions_of_both_processes() -> None:
    volumes = {name: service["volumes"] for name, service in SERVICES.items()}

    assert volumes == {
        "label-studio": ["label-studio:/label-studio/data"],
        "backend": ["models:/models"],
        "trainer": ["models:/models"],
    }
    assert set(COMPOSE["volumes"]) == {"label-studio", "models"}


@pytest.mark.parametrize("name", ["backend", "trainer"])
def test_a_container_of_ours_writes_to_its_volume_and_to_memory_alone_and_gains_no_rights(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "cap_add" not in service


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_a_user_whose_files_are_where_it_may_write(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    variables = dict(word.split("=", 1) for instruction, words in lines if instruction == "ENV" for word in words)

    assert [words for instruction, words in lines if instruction == "USER"] == [["1000:1000"]]
    assert (variables["HOME"], variables["MODEL_DIR"], variables["HF_HOME"]) == ("/tmp", "/models", "/models/huggingface")


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports == ["127.0.0.1:8080:8080", "127.0.0.1:9090:9090"]


def test_the_gpu_override_adds_device_reservations_and_the_cuda_build_and_nothing_else() -> None:
    gpus = {"resources": {"reservations": {"devices": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}}}
    override = {"build": {"args": {"TORCH_BACKEND": "cu130"}}, "deploy": gpus}

    assert {"backend": override, "trainer": override} == GPU_SERVICES
    for dockerfile in DOCKERFILES:
        assert ("ARG", ["TORCH_BACKEND=cpu"]) in instructions(dockerfile)


def test_label_studio_is_told_of_postgresql_what_the_suite_tells_it() -> None:
    label_studio, database = POSTGRESQL_COMPOSE["services"]["label-studio"], POSTGRESQL_COMPOSE["services"]["postgresql"]
    environment = label_studio["environment"]

    assert set(environment) == set(PostgreSQL().environ)
    assert environment["DJANGO_DB"] == PostgreSQL().environ["DJANGO_DB"]
    assert environment["POSTGRE_HOST"] == "postgresql"
    assert environment["POSTGRE_NAME"] == database["environment"]["POSTGRES_DB"]
    assert environment["POSTGRE_USER"] == database["environment"]["POSTGRES_USER"]
    assert label_studio["depends_on"] == {"postgresql": {"condition": "service_healthy"}}


def test_nothing_but_label_studio_reaches_a_database_that_asks_for_no_password() -> None:
    services = POSTGRESQL_COMPOSE["services"]

    assert set(services) == {"label-studio", "postgresql"}
    assert services["postgresql"]["networks"] == ["database"]
    assert services["label-studio"]["networks"] == ["default", "database"], "backend and trainer go on reaching Label Studio"
    assert POSTGRESQL_COMPOSE["networks"] == {"database": {"internal": True}}
    assert "ports" not in services["postgresql"]
    assert not [name for name, service in SERVICES.items() if "networks" in service]


def test_the_database_is_on_a_volume_of_its_own() -> None:
    assert POSTGRESQL_COMPOSE["services"]["postgresql"]["volumes"] == ["postgresql:/var/lib/postgresql/data"]
    assert set(POSTGRESQL_COMPOSE["volumes"]) == {"postgresql"}


@pytest.mark.parametrize("name", ["backend", "trainer"])
def test_compose_builds_from_a_dockerfile_that_exists(name: str) -> None:
    build = SERVICES[name]["build"]

    assert (REPOSITORY / "docker" / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]) in DOCKERFILES
    assert (REPOSITORY / build["dockerfile"]).is_file()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_copied_source_exists_and_is_let_through_by_dockerignore(dockerfile: Path) -> None:
    copies = [words for instruction, words in instructions(dockerfile) if instruction == "COPY" and "--from" not in words[0]]
    sources = {source for words in copies for source in words[:-1]}
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    let_through = {line[1:] for line in lines if line.startswith("!")}

    assert lines[0] == "*", "everything is ignored but what is named"
    assert {"pyproject.toml", "backend", "preference", "trainer"} <= sources <= let_through
    assert [source for source in let_through if not (REPOSITORY / source).exists()] == []


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_copied_stage_is_defined_before_it_is_used(dockerfile: Path) -> None:
    stages: list[str] = []
    for instruction, words in instructions(dockerfile):
        if instruction == "FROM":
            assert words[0] in stages or re.fullmatch(r"python:3\.11\.\d+-slim-\w+", words[0])
            stages.append(words[2])
        for word in words:
            for stage in re.findall(r"(?:^--from=|,from=)(\w+)", word):
                assert stage in stages[:-1]
    assert len(stages) == 4


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_without_root_and_names_no_secret_or_private_address(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    users = [words for instruction, words in instructions(dockerfile) if instruction == "USER"]
    secrets = [name for name, field in SETTINGS.items() if isinstance(field.default, SecretStr)]

    assert users == [["1000:1000"]]
    assert not re.search("|".join([*secrets, "https?://", "index-url", "/opt/wheels", "PIP_", r"\bADD\b"]), text)


def test_both_images_share_every_stage_but_the_last() -> None:
    backend, trainer = (instructions(dockerfile) for dockerfile in DOCKERFILES)
    shared = backend[: backend.index(("FROM", ["pairloop", "AS", "backend"]))]

    assert trainer[: len(shared)] == shared
    assert trainer[len(shared)] == ("FROM", ["pairloop", "AS", "trainer"])


@pytest.mark.parametrize(("dockerfile", "program"), list(zip(DOCKERFILES, [backend_main, trainer_main], strict=True)))
def test_an_image_starts_a_command_that_exists(dockerfile: Path, program: Any) -> None:
    instruction, words = instructions(dockerfile)[-1]
    name, command = yaml.safe_load(" ".join(words))

    assert instruction == "CMD"
    assert f'{name} = "{program.callback.__module__}:main"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert CliRunner().invoke(program, [command, "--help"]).exit_code == 0


def test_the_env_example_names_every_setting_once_with_its_description_and_default() -> None:
    lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
    place = {match.group(1): i for i, line in enumerate(lines) if (match := re.match(r"(?:# )?([A-Z][A-Z0-9_]*)=", line))}
    names = [match.group(1) for line in lines if (match := re.match(r"(?:# )?([A-Z][A-Z0-9_]*)=", line))]

    assert names == list(SETTINGS)
    for name, field in SETTINGS.items():
        assert lines[place[name] - 1] == f"# {field.description}"


def test_the_env_example_is_a_shell_file_and_means_the_defaults() -> None:
    values: dict[str, str] = {}
    for line in (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines():
        words = shlex.split(line, comments=True)
        assert len(words) <= 1, f"a shell would run part of: {line}"
        for word in words:
            name, values[name] = word.split("=", 1)

    assert Settings.from_environ(values) == Settings.from_environ({})
    assert {value for name, value in values.items() if isinstance(SETTINGS[name].default, SecretStr)} == {""}
