"""docs/: each page is short, and what it quotes is what the programs print, take and say."""

import ast
import dataclasses
import inspect
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from label_studio_sdk.label_interface.interface import LabelInterface
from PIL import Image

from backend.connecting.links import HookFault
from backend.doctor.check import Check
from backend.doctor.installation_checks import INSTALLATION_CHECKS
from backend.doctor.judging_checks import JUDGING_CHECKS
from backend.doctor.project_checks import PROJECT_CHECKS
from backend.doctor.version_checks import VERSION_CHECKS
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import layout_of
from preference.projects.folder import ProjectFolder
from preference.projects.promotions import log_promotion
from preference.report_card.figures import JudgedFigures
from tests.conftest import REPOSITORY
from tests.support.cards import EMPTY_CARD
from tests.support.documents import GROUPS, PROGRAMS, VARIABLES, page, pages, read, sentences, text_of

NAMES = [each.name for each in pages() if each.name.startswith("docs/")]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_the_manual_is_short_and_says_what_its_blocks_are(name: str) -> None:
    written, *_generated = re.split(r"\n## (?:All of them|As the bench wrote it)\n", page(name).text)
    assert written.count("\n") <= 150
    assert {block.language for block in page(name).blocks} <= {
        "",
        "sh",
        "console",
        "text",
        "xml",
        "ini",
        "yaml",
        "json",
        "python",
    }


@pytest.mark.parametrize("name", [name for name in NAMES if page(name).named("console")])
def test_a_session_on_a_console_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    add_version(
        tmp_path, "v1-20261119-030012", 120, "accuracy 0.702, longer-answer-wins has 0.553, and there was no champion",
        accuracy=(0.702, 0.611, 0.781),
    )  # fmt: skip
    add_version(
        tmp_path, "v2-20261120-030014", 170, "accuracy 0.717, longer-answer-wins has 0.550, the champion has 0.700",
        accuracy=(0.717, 0.636, 0.786), before="v1-20261119-030012",
    )  # fmt: skip
    environ = dict.fromkeys(VARIABLES, None) | {"MODEL_DIR": str(tmp_path), "DEVICE": "cpu"}
    environ |= {"FORCE_COLOR": "1", "TERM": "dumb"}  # tables as on a terminal of 80 columns that has no bold letters
    for block in page(name).named("console"):
        for call in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = call.partition("\n")
            words = shlex.split(line)
            given = dict(word.split("=", 1) for word in words[: next(i for i, word in enumerate(words) if word in PROGRAMS)])
            arguments = words[len(given) + 1 :]
            result = CliRunner().invoke(GROUPS[words[len(given)]], arguments, env=environ | given)
            pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
            printed = re.sub(r" +$", "", result.output.strip(), flags=re.MULTILINE)
            assert re.fullmatch(pattern, printed, re.DOTALL), f"$ {line}\n{printed}"


def add_version(
    model_dir: Path, version: str, num_pairs: int, reason: str, *, accuracy: tuple[float, float, float], before: str | None = None
) -> None:
    """Project 12 gets a version that was promoted when it was published. `accuracy`: with its interval's ends."""
    folder = ProjectFolder(model_dir, 12)
    published = folder.path / "versions" / version
    published.mkdir(parents=True)
    at = datetime.strptime(version.partition("-")[2], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    card = dataclasses.replace(
        EMPTY_CARD, project_id=12, version=version, created_at=at.isoformat(), num_train_pairs=num_pairs, promoted=True, reason=reason,
        metrics=JudgedFigures(accuracy=accuracy[0], interval=accuracy[1:]),
    )  # fmt: skip
    (published / "card.json").write_text(card.to_json())
    log_promotion(published, {"at": at.isoformat(timespec="microseconds"), "by": "judge", "before": before, "reason": ""})
    (folder.path / "champion").write_text(version + "\n")


def test_the_page_of_settings_gives_advice_on_each_that_is_not_advanced() -> None:
    advice, _, _tables = page("docs/settings.md").text.partition("\n## All of them\n")
    assert [
        variable.name for variable in VARIABLES.values() if not variable.is_advanced and f"`{variable.name}`" not in advice
    ] == []


def test_label_configs_in_the_manual_fit_and_quote_ours() -> None:
    ours = {line.strip() for line in read("label_config.xml").splitlines()}
    quoted = 0
    for block in page("docs/label-configs.md").named("xml"):
        if block.startswith("<View>"):
            assert LabelingLayout.from_label_config(block).prompt_field
            LabelInterface(block).validate()
            continue
        for line in filter(None, map(str.strip, block.splitlines())):
            assert any(line in known for known in ours), f"label_config.xml has no {line}"
            quoted += 1
    assert quoted > 8
    for block in (block for block in page("docs/more-than-pairs.md").named("xml") if block.startswith("<View>")):
        layout = layout_of(block)
        assert layout.criteria or not isinstance(layout, LabelingLayout)
        LabelInterface(block).validate()


def test_messages_in_the_manual_are_in_the_code() -> None:
    messages = [line for name in NAMES for block in page(name).named("text") for line in block.splitlines() if line.strip()]
    for message in messages:
        for piece in message.split("..."):
            assert piece.strip() in sentences(), f"no text of ours has {piece.strip()!r}, of {message!r}"
    assert len(messages) > 10


def test_the_manual_has_every_check_of_doctor_and_each_of_its_messages() -> None:
    manual = page("docs/doctor.md")
    checks: list[Check[Any]] = [*INSTALLATION_CHECKS, *PROJECT_CHECKS, *JUDGING_CHECKS, *VERSION_CHECKS]
    names = ["settings", *(check.name for check in checks)]
    names.insert(1 + len(INSTALLATION_CHECKS), "project")
    assert [heading for level, heading in manual.headings if level == 3] == names
    quoted = "\n".join(manual.spans).replace("...", "\0")
    for path in {inspect.getfile(check.look) for check in checks}:
        calls = [node for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Call)]
        for call in (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "CheckFailed"):
            pieces = [piece.strip(" :;,()") for piece in (text_of(call.args[0]) or "").split("\0")]
            lacking = [piece for piece in pieces if len(piece) > 4 and piece not in quoted]
            assert not lacking, f"docs/doctor.md does not have {lacking}, which {path} can say"
    assert [fault for fault in get_args(HookFault) if fault not in quoted] == []


def test_pictures_are_there_small_and_described() -> None:
    pictures = [(each.folder / path, text) for each in map(page, NAMES) for path, text in each.pictures]
    files = sorted((REPOSITORY / "docs" / "pictures").glob("*.png"))
    assert {path.resolve() for path, _ in pictures} >= set(files) != set()
    for file in files:
        with Image.open(file) as picture:
            assert picture.format == "PNG" and picture.width == 1300 and file.stat().st_size < 150_000
    assert all(len(text) > 20 for _, text in pictures)
