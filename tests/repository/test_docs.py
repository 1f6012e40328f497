"""The documents say what the code does."""

import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path

import click
import pytest

from preference.settings import as_markdown
from tests.conftest import REPOSITORY
from tests.support.documents import GROUPS, VARIABLES, page, pages, read, sentences

NAMES = [each.name for each in pages()]
# Label Studio's variables and events, pip's, ours of make, and words.
NOT_OURS = {
    "SSRF_PROTECTION_ENABLED", "ML_BLOCK_LOCAL_IP", "LABEL_STUDIO_HOST", "TASKS_CREATED", "START_TRAINING",
    "PIP_FIND_LINKS", "DEMO_ARGS", "PAIRLOOP_NIGHTLY", "PREFERENCE_DATA", "ONLY", "BASELINE", "HF_TOKEN", "HF_HUB_OFFLINE", "TMPDIR", "SERVE_RM",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "FEATURES", "REWARDS", "TRAINED_REWARDS", "TRAINED_WEIGHTS",  # tolerances of tests/support/tolerance.py
    "ENGINES", "STRATEGIES", "RECIPES", "README", "UP", "DEBUG", "INFO", "CRITICAL", "GET", "POST", "PATCH",
}  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
def test_every_setting_has_a_description_that_is_a_table_cell(name: str) -> None:
    description = VARIABLES[name].description
    assert description.endswith(".")
    assert "|" not in description and "\n" not in description


def test_the_tables_of_settings_are_as_make_docs_writes_them() -> None:
    assert read("docs/settings.md").endswith(f"\n\n{as_markdown()}\n"), "run make docs"
    assert [f"| `{name}` |" in as_markdown() for name in VARIABLES] == [True] * len(VARIABLES)
    assert "| `PORT` | `9090` | The port that the backend listens on. |\n" in as_markdown()
    assert "| `BASIC_AUTH_PASS` | | The password that goes with BASIC_AUTH_USER. |\n" in as_markdown()


@pytest.mark.parametrize("name", VARIABLES)
def test_the_example_environment_has_each_variable_once(name: str) -> None:
    lines = re.findall(rf"^(?:# ?)?{name}=.*$", read(".env.example"), re.MULTILINE)
    assert len(lines) == 1, f".env.example has {name} {len(lines)} times: {lines}"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^#+ .*\b{re.escape(version)}\b", read("CHANGELOG.md"), re.MULTILINE), (
        f"CHANGELOG.md: no heading names {version}"
    )


def test_the_changelog_names_no_unreleased_version() -> None:
    text = read("CHANGELOG.md")
    released = [line for line in text.splitlines() if line.startswith("## ") and "unreleased" not in line]
    assert released or not re.search(r"[Pp]reviously|[Ff]ormerly|no longer", text)


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in read("LICENSE") and "Version 2.0" in read("LICENSE")
    assert project["license-files"] == ["LICENSE"]


def test_contributing_has_the_tolerances_of_the_tests() -> None:
    tolerances = dict(re.findall(r"^([A-Z_]+) = ([\de.-]+)", read("tests/support/tolerance.py"), re.MULTILINE))
    table = dict(re.findall(r"\| `([A-Z_]+)`, (\S+)", read("CONTRIBUTING.md")))
    assert table == tolerances != {}


# README.md


def test_the_readme_is_short() -> None:
    text = read("README.md")
    assert text.count("\n") <= 200
    assert len(text.split()) <= 1500


def test_the_readme_begins_with_the_page_that_annotators_see() -> None:
    assert page("README.md").pictures[0][0] == "docs/pictures/label-stream.png"


def test_each_step_of_the_readme_says_what_one_should_see() -> None:
    steps = re.split(r"^\*\*\d\. .*\*\*", section("README.md", "Use it with your Label Studio"), flags=re.MULTILINE)[1:]
    assert len(steps) == 4
    assert all("What you should see now" in step for step in steps)
    assert "*Nothing is connected yet*" in steps[0] and "Nothing is connected yet" in read(
        "backend/dashboard/templates/dashboard.html.jinja"
    )


def test_the_readme_links_every_page_of_the_manual_for_some_reader() -> None:
    table = section("README.md", "Documentation")
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", table))
    assert linked == {name for name in NAMES if name.startswith("docs/")}


def test_the_readmes_numbers_have_a_source() -> None:
    bullets = [
        block for block in re.split(r"^- ", section("README.md", "Pairloop"), flags=re.MULTILINE)[1:] if block.startswith("**")
    ]
    assert len(bullets) == 5
    source = read("docs/benchmarks.md")
    defaults = {f"{100 * VARIABLES['HOLDOUT_FRACTION'].default:.0f} %", f"{VARIABLES['CONTROL_PERCENT'].default} %"}
    for bullet in bullets:
        numbers = re.findall(r"(?<![\w.,])\d[\d,.]*(?: %)?(?![\w])", bullet)
        assert numbers, f"no number in: {bullet}"
        assert [number for number in numbers if number not in defaults and number not in source] == []
    figures = re.findall(r"\.\d{3}", section("README.md", "How good is it?"))
    assert len(figures) > 10
    assert [figure for figure in figures if figure not in source] == []


def section(name: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or of a higher one."""
    _, _, below = read(name).partition(f"# {heading}\n")
    assert below, f"{name} has no heading {heading}"
    return re.split(r"^##? ", below, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_architecture_names_every_folder() -> None:
    named = set(page("docs/architecture.md").spans)
    for package in ("backend", "trainer", "preference"):
        folders = {path.parent.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / package).rglob("__init__.py")}
        assert {f"{folder}/" for folder in folders} - named == set()
    missing = [span for span in named if span.endswith("/") and not (REPOSITORY / span).is_dir()]
    assert missing == []


# All pages


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    for link in page(name).links:
        path, _, anchor = link.partition("#")
        if re.match(r"(https?|mailto):", link):
            continue
        target = (page(name).folder / path).resolve() if path else REPOSITORY / name
        assert target.exists(), f"{name} links to {link}, which is not there"
        if anchor:
            there = page(target.relative_to(REPOSITORY).as_posix())
            assert anchor in there.anchors, f"{name} links to {link}; its headings are {sorted(there.anchors)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_is_one_that_the_program_takes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    complete, mentioned = list(page(name).command_lines()), list(page(name).mentioned_commands())
    for argument in (argument for arguments in complete + mentioned for argument in arguments):
        if re.fullmatch(r"[\w-]+\.(jsonl?|csv|txt|xml|md)", argument):
            (tmp_path / argument).touch()
    for arguments in complete:
        parse(arguments)
    for arguments in mentioned:
        with suppress(click.MissingParameter):
            parse(arguments)


def parse(arguments: list[str]) -> None:
    """Raises click.UsageError if the program would refuse them. Runs nothing."""
    program, *rest = arguments
    group = GROUPS[program]
    if rest[:1] in ([], ["--help"], ["-h"], ["--version"]):
        return
    with click.Context(group, info_name=program) as context:
        command = group.get_command(context, rest[0])
        assert command is not None, f"{program} has no command {rest[0]}; it has {group.list_commands(context)}"
        with suppress(click.exceptions.Exit), command.make_context(rest[0], rest[1:], parent=context):
            pass


def test_wrong_commands_and_options_are_noticed() -> None:
    parse(["pairloop-backend", "fill", "--project", "12"])
    for wrong in (["fill", "--porject", "12"], ["fill"], ["fill", "--project", "x"], ["fill", "--project", "1", "2"]):
        with pytest.raises(click.UsageError):
            parse(["pairloop-backend", *wrong])
    with pytest.raises(AssertionError, match="has no command fil"):
        parse(["pairloop-backend", "fil"])


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_a_setting_or_somebody_elses(name: str) -> None:
    named = set(re.findall(r"(?<![\w/.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w-])", page(name).text))
    alone = [re.fullmatch(r"([A-Z][A-Z0-9]+)(=.*)?", span) for span in page(name).spans]
    named |= {match.group(1) for match in alone if match}
    assert named - VARIABLES.keys() - NOT_OURS == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_named_file_and_metric_exists(name: str) -> None:
    for span in page(name).spans:
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.(py|toml|xml|yml|md|txt)", span):
            assert (REPOSITORY / span).exists(), f"{name} names {span}"
    for metric in set(re.findall(r"\bpairloop_[a-z_]+", page(name).text)):
        assert metric.removesuffix("_total") in sentences(), f"{name} names {metric}"


@pytest.mark.parametrize("name", NAMES)
def test_shell_blocks_are_shell(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for block in page(name).named("sh"):
        checked = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{name}: {checked.stderr}\n{block}"
        assert set(re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)) <= targets
        assert all(Path(REPOSITORY / path).exists() for path in re.findall(r"--file (\S+)", block))
