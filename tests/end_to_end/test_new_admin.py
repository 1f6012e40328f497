"""What a new admin types and sees, in a real terminal, before a real Label Studio, with real weights in an empty folder."""

import re
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from demo.new_admin import PICTURE, PROMPTS, TITLE, FirstRun, first_run, picture
from preference.models.files import EMBEDDED
from preference.models.pretrained import locate
from tests.support.nightly import IS_NIGHTLY

# ptyprocess forks; what it forks runs bash at once. Python 3.12 warns of any fork beside threads.
FORKS = pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, embedded_dir: Path) -> FirstRun:
    """Short answers, and an embedded model that was converted before, which takes half a minute; at night, neither."""
    folder = tmp_path_factory.mktemp("new-admin")
    if IS_NIGHTLY:
        return first_run(folder, settings={})
    locate(EMBEDDED, embedded_dir)
    models = tmp_path_factory.mktemp("models")
    (models / "embedded").symlink_to(embedded_dir / "embedded")
    return first_run(folder, settings={"MODEL_DIR": str(models), "MAX_NEW_TOKENS": "8"})


@FORKS
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_from_label_studio_s_start_to_filled_tasks_in_one_command_and_two_minutes(run: FirstRun) -> None:
    assert run.exit_status == 0, run.lines
    assert len(run.answers) == len(PROMPTS) and run.is_filled, run.answers
    if IS_NIGHTLY:  # the promise itself; by day, machines may be as busy as they like
        assert run.seconds < 120


@FORKS
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_terminal_names_the_new_project_its_address_and_the_next_step(run: FirstRun) -> None:
    asked = [line.removeprefix("$ ") for line in run.lines if line.startswith("$ ")]
    assert asked == [
        "head -4 prompts.csv",
        "export LABEL_STUDIO_URL=http://localhost:8080",
        "export LABEL_STUDIO_API_KEY=...",
        "pairloop-backend serve > backend.log 2>&1 &",
        "pairloop-trainer run > trainer.log 2>&1 &",
        f'pairloop-backend connect --new "{TITLE}" --prompts prompts.csv',
    ]
    answered = run.lines[run.lines.index(f"$ {asked[-1]}") + 1 :]
    made = re.fullmatch(rf'made project (\d+), "{TITLE}"', answered[0])
    assert made, answered
    assert answered[1:5] == [
        "connected http://localhost:9090 as pairloop-untrained",
        "switched uncertainty sampling on",
        f"project {made[1]} is connected: http://localhost:8080/projects/{made[1]}",
        "no suggestions yet: the first reward model is trained after 30 judgements, on 16 prompts or more",
    ]
    assert answered[5] == f"prompts.csv: {len(PROMPTS)} prompts; reading those that project {made[1]} holds"
    assert f" {len(PROMPTS)}/{len(PROMPTS)} " in answered[6]
    assert answered[7] == f"{len(PROMPTS)} imported, {len(PROMPTS)} of them answered"
    assert [line.partition(" ")[2] for line in answered[8:]] == ["with an answer that was cut off (MAX_NEW_TOKENS)"], (
        "after 8 tokens"
    )


@pytest.mark.e2e
@FORKS
@pytest.mark.timeout(600)
def test_a_new_picture_shows_what_the_terminal_showed(run: FirstRun) -> None:
    drawn = picture(run)

    assert_is_everybodys(drawn)
    assert squeezed(words(drawn)).endswith(squeezed("".join(run.lines)))


@pytest.mark.parametrize("answers", [("same", "same"), ("one", None), ("", "other"), ("one", "other")])
def test_a_run_is_filled_if_each_prompt_has_two_different_answers(answers: tuple[str | None, str | None]) -> None:
    good: list[tuple[str | None, str | None]] = [("one", "other")] * (len(PROMPTS) - 1)

    assert FirstRun(1, 0, "", [*good, answers]).is_filled == (answers == ("one", "other"))
    assert not FirstRun(1, 0, "", good[1:]).is_filled and not FirstRun(1, 1, "", [*good, ("one", "other")]).is_filled


def test_the_picture_in_the_manual_is_of_a_filled_run() -> None:
    drawn = PICTURE.read_text(encoding="utf-8")

    assert_is_everybodys(drawn)
    assert len(drawn) < 150_000
    for line in (
        f'$ pairloop-backend connect --new "{TITLE}" --prompts prompts.csv',
        f"{len(PROMPTS)} imported, {len(PROMPTS)} of them answered",
    ):
        assert squeezed(line) in squeezed(words(drawn))


def squeezed(text: str) -> str:
    """Without its white space: an SVG has none at a change of colour."""
    return "".join(text.split())


def words(drawn: str) -> str:
    """The texts of an SVG, line by line."""
    texts = fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")
    return "\n".join("".join(text.itertext()).replace("\xa0", " ") for text in texts)


def assert_is_everybodys(drawn: str) -> None:
    """It loads nothing, and holds no path, port, secret or date of the machine that made it."""
    assert not re.search(r"url\((?!#)|<script|<image|href|@import|@font-face", drawn)
    texts = words(drawn)
    assert set(re.findall(r":(\d{4,5})\b", texts)) == {"8080", "9090"}
    assert not re.search(r"[0-9a-f]{20}|127\.0\.0\.1|/(tmp|home|root|usr|work|var|Users)\b|\b20\d\d-|\d\d:\d\d:\d\d", texts)
