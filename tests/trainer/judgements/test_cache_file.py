"""The file in which a trainer keeps what it read: damage, kills, a full disk."""

import itertools
import json
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preference.errors import StudioUnreachable
from preference.studio.project import LabelStudioProject
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.judgement_house import LEFT, MINUTE, RIGHT, House, ids_of
from tests.support.studio_double import KEY, StudioDouble
from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.reader import read_judgements


@pytest.fixture
def house(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), caplog)


@pytest.mark.parametrize("changed", ["studio", "project", "created_at", "format"])
def test_judgements_of_another_place_or_format_are_not_trusted(house: House, changed: str) -> None:
    house.judged(2)
    house.read()
    head, *rest = house.file.read_bytes().splitlines(keepends=True)
    header = json.loads(head)
    assert header["studio"] == house.studio.url
    assert header["project"] == house.project.id
    house.file.write_bytes(json.dumps({**header, changed: 0}).encode() + b"\n" + b"".join(rest))

    assert house.read() == house.truth()
    assert house.log.endswith("all were read, as those kept are of another Label Studio, project or format")
    house.read()
    assert "changes since" in house.log


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content.splitlines(keepends=True)[0],
        lambda content: content.replace(b'"annotations"', b'"annotation"', 1),
        lambda content: content.replace(b'"was_cancelled"', b'"was"', 1),
        lambda content: content[:300] + b"\0" * 40 + content[340:],
        lambda content: content.replace(b'"until": "', b'"until": "x'),
        lambda content: b"[]\n" + content,
        lambda content: content + b"[]\n",
    ],
    ids=[
        "empty",
        "torn header",
        "only a header",
        "no annotations",
        "no votes",
        "zeros in the middle",
        "no time",
        "no header",
        "no object",
    ],
)
def test_a_damaged_file_is_read_anew(house: House, damage: Callable[[bytes], bytes]) -> None:
    house.judged(3)
    before = house.read()
    house.file.write_bytes(damage(house.file.read_bytes()))

    assert house.read() == before
    assert "all were read, as " in house.log
    house.read()
    assert "changes since" in house.log


def test_a_torn_line_is_cut_off_even_if_it_is_longer_than_what_is_appended(house: House) -> None:
    ids = house.judged(3)
    house.read()
    with house.file.open("ab") as file:
        file.write(b'{"id": 1, "data": "' + b"x" * 5000)
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)

    for _ in range(2):
        assert house.read() == house.truth()
        assert "changes since" in house.log
    assert b"xxx" not in house.file.read_bytes()


def test_texts_of_every_kind_are_kept_as_they_are(house: House) -> None:
    texts = "🐈‍⬛ مرحبا", "line\nline\u2028line\u0085\0", "half a pair \ud83d", "'\"\\"
    for task_id in house.studio.add_tasks(house.project.id, *({"prompt": text} for text in texts)):
        house.studio.annotate(task_id, LEFT)
    house.read()

    assert [task["data"]["prompt"] for task in house.read()] == list(texts)
    assert "changes since" in house.log


def test_only_the_trainer_may_read_the_file(house: House) -> None:
    house.judged(1)
    house.read()

    assert stat.S_IMODE(house.file.stat().st_mode) == 0o600


def test_the_file_does_not_grow_with_the_number_of_rounds(house: House) -> None:
    (task_id,) = house.judged(1)
    sizes = []
    for n in range(120):
        house.now += 1
        house.studio.edit(house.annotation(task_id), lead_time=n)
        assert house.read()[0]["annotations"][0]["lead_time"] == n
        sizes.append(house.file.stat().st_size)

    assert sizes[-1] < sizes[40]


def test_a_folder_that_cannot_be_used_costs_whole_reads_and_one_warning_each(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    ids = house.judged(2)
    house.folder.parent.parent.mkdir()
    house.folder.parent.write_text("a file where a folder should be")

    assert ids_of(house.read()) == ids_of(house.read()) == ids
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert f"judgements cannot be kept in {house.file} (" in warnings[0]
    assert "mount MODEL_DIR read-write" in warnings[0]
    assert house.log.endswith("2 judged tasks changed, 2 are known: all were read, as none can be kept")


def test_a_label_studio_that_goes_away_leaves_what_was_kept(house: House) -> None:
    ids = house.judged(3)
    house.read()
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    state = house.project.read()
    before = house.file.read_bytes()

    def fail_the_second(request: str) -> None:
        house.studio.failures = [503] if house.studio.requests.count("GET /api/tasks/") == 3 else []

    house.studio.on_request = fail_the_second
    with pytest.raises(StudioUnreachable):
        read_judgements(house.project, house.folder, state=state, now=house.now)
    house.studio.on_request = lambda request: None

    assert house.file.read_bytes() == before
    assert house.read() == house.truth()
    assert "changes since" in house.log


def test_two_at_once_wait_for_each_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    ids = house.judged(20)
    house.read()
    for task_id in ids:
        house.studio.edit(house.annotation(task_id), result=RIGHT)
    caplog.clear()
    readings: list[list[JudgedTask]] = []

    def read() -> None:
        project = LabelStudioProject(house.settings.studio, house.project.id)
        readings.append(read_judgements(project, house.folder, state=project.read(), now=house.now))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    logged = [record.getMessage() for record in caplog.records if " 20 judged tasks changed" in record.getMessage()]
    assert len(logged) == 1, "what the first brought, the others find"
    assert readings == [house.truth()] * 4
    assert len(house.file.read_bytes().splitlines()) == 1 + 20 + 1 + 20 + 1


# Reads judgements in processes that may write no file beyond so many bytes: with `dies` the write that would is their end
# (SIGXFSZ, with the bytes up to there written), else it fails as on a full disk.
LIMITED_READER = """
import json, logging, os, resource, shutil, signal, sys
from pathlib import Path
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.judgements.reader import read_judgements

for line in sys.stdin:
    asked = json.loads(line)
    settings = Settings.of(label_studio_url=asked["url"], label_studio_api_key=asked["key"], model_dir=Path(asked["folder"]))
    project = LabelStudioProject(settings.studio, asked["project"])
    state = project.read()
    if os.fork() == 0:
        if asked["dies"]:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
        tasks = read_judgements(LabelStudioProject(settings.studio, asked["project"]), Path(asked["folder"]), state=state, now=asked["now"])
        print(json.dumps(tasks), flush=True)
        os._exit(0)
    print("status", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
KILLED = ["status -25"]


@pytest.fixture(scope="module")
def limited_reader() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LIMITED_READER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        yield process


def read_with_limit(reader: subprocess.Popen[str], house: House, folder: Path, *, limit: int, dies: bool) -> list[str]:
    """What such a process printed, and its status."""
    asked = {"url": house.studio.url, "key": KEY, "project": house.project.id, "now": house.now, "folder": str(folder)}
    assert reader.stdin is not None and reader.stdout is not None
    reader.stdin.write(json.dumps({**asked, "limit": limit, "dies": dies}) + "\n")
    reader.stdin.flush()
    printed: list[str] = []
    while not printed or not printed[-1].startswith("status"):
        printed.append(reader.stdout.readline().rstrip())
        assert printed[-1], "it ended"
    return printed


def kept_and_changed(house: House) -> tuple[Path, list[int]]:
    """A folder, and where the lines end that a read of three edits appends to its file; the first is by far the latest edit."""
    ids = house.judged(4)
    kept, whole = house.settings.model_dir / "kept", house.settings.model_dir / "whole"
    house.read(kept)
    shutil.copytree(kept, whole)
    for task_id in reversed(ids[:3]):
        house.now += 20 * MINUTE
        house.studio.edit(house.annotation(task_id), result=RIGHT)
    house.read(whole)
    lines = (whole / "judgements.jsonl").read_bytes().splitlines(keepends=True)
    ends = list(itertools.accumulate(map(len, lines)))
    assert ends[-5] == (kept / "judgements.jsonl").stat().st_size
    return kept, ends[-5:]


def test_a_kill_anywhere_in_the_writing_loses_no_change(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, first, second, third, end) = kept_and_changed(house)
    truth = house.truth()

    for limit in (begin, begin + 1, first - 1, first, first + 50, second, third - 1, third, end - 1):
        folder = kept.with_name(f"at-{limit}")
        shutil.copytree(kept, folder)
        assert read_with_limit(limited_reader, house, folder, limit=limit, dies=True) == KILLED
        assert (folder / "judgements.jsonl").stat().st_size == limit
        assert house.read(folder) == truth
        assert "changes since" in house.log, "a torn line is cut off, what was kept before is not read again"
        assert house.read(folder) == truth
        assert (folder / "judgements.jsonl").read_bytes().endswith(b"\n")


def test_a_kill_while_all_is_written_leaves_nothing_half(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, *_) = kept_and_changed(house)

    for limit in (0, 1, 60, begin - 1):
        folder = kept.with_name(f"at-{limit}")
        assert read_with_limit(limited_reader, house, folder, limit=limit, dies=True) == KILLED
        assert not (folder / "judgements.jsonl").exists()
        assert house.read(folder) == house.truth()
        assert sorted(path.name for path in folder.iterdir()) == ["judgements.jsonl", "judgements.lock"]


def test_a_full_disk_costs_a_warning_and_no_judgement(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, _, second, _, end) = kept_and_changed(house)
    truth = house.truth()

    for limit in (begin, second + 40, end):
        folder = kept.with_name(f"at-{limit}")
        shutil.copytree(kept, folder)
        *warnings, tasks, status = read_with_limit(limited_reader, house, folder, limit=limit, dies=False)
        assert (json.loads(tasks), status) == (truth, "status 0")
        assert warnings == [
            f"project {house.project.id}: judgements cannot be kept in {folder / 'judgements.jsonl'} (File too large), "
            "so that more of them are read than need be; free some space, or mount MODEL_DIR read-write"
        ] * (limit < end)
        assert house.read(folder) == truth
        assert "changes since" in house.log
