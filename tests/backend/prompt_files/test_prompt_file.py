import codecs
import gzip
import json
import math
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from backend.prompt_files.prompt_file import PromptFile
from backend.prompt_files.rows import CHANGED
from preference.errors import PromptFileError
from preference.labelling.label_config import LabelingLayout
from preference.studio.storable import storable
from tests.support.studio_records import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
RENAMED = LabelingLayout.from_label_config(
    LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")
)
EMPTY = {"answer1": "", "answer2": ""}
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of that name in this test's folder."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def read(path: Path, layout: LabelingLayout = LAYOUT) -> list[dict[str, Any]]:
    """The data of the file's tasks, which are as many as it says."""
    prompts = PromptFile(path, layout)
    rows = [task["data"] for task in prompts]
    assert len(prompts) == len(rows)
    return rows


def texts(path: Path) -> list[str]:
    return [row["prompt"] for row in read(path)]


def refusal(path: Path, layout: LabelingLayout = LAYOUT) -> str:
    """Why the file is refused, without its folder."""
    with pytest.raises(PromptFileError) as refused:
        len(PromptFile(path, layout))
    return str(refused.value).replace(f"{path.parent}/", "")


# What is read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "Why?\nWhy not, then?\n"),
        ("P.TXT", "Why?\nWhy not, then?"),
        ("p.csv", 'prompt\nWhy?\n"Why not, then?"\n'),
        ("p.jsonl", '"Why?"\n{"prompt": "Why not, then?"}\n'),
        ("p.json", '["Why?", {"data": {"prompt": "Why not, then?"}}]'),
    ],
)
def test_each_format_gives_tasks_without_answers(write: Write, name: str, content: str) -> None:
    expected = [{"prompt": "Why?", **EMPTY}, {"prompt": "Why not, then?", **EMPTY}]
    windows = codecs.BOM_UTF8 + content.replace("\n", "\r\n").encode()

    assert read(write(name, content)) == read(write(name, windows)) == expected


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl", "p.json"])
def test_no_script_and_no_separator_of_unicode_is_taken_for_something_else(write: Write, name: str) -> None:
    text = "🐈‍⬛ مرحبا \u2028 next \x85 “quoted” 'single' \\n"
    content = {
        "p.txt": text,
        "p.csv": f"prompt\n{text}",
        "p.jsonl": json.dumps(text, ensure_ascii=False),
        "p.json": json.dumps([text]),
    }

    assert texts(write(name, content[name])) == [text]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "\n\nOne\n   \n\t\n Two \n\n"),
        ("p.csv", "prompt\n\nOne\n\nTwo\n\n"),
        ("p.jsonl", '\n"One"\n  \n{"prompt": "Two"}\n\n'),
    ],
)
def test_blank_lines_are_no_prompts(write: Write, name: str, content: str) -> None:
    assert texts(write(name, content)) == ["One", "Two"]


def test_a_quoted_csv_field_holds_newlines_commas_and_quotes(write: Write) -> None:
    path = write("p.csv", 'id,prompt\r\n1,"First,\r\nsecond ""line"""\r\n2,Plain\r\n')

    assert texts(path) == ['First,\r\nsecond "line"', "Plain"]


def test_other_columns_and_fields_are_kept(write: Write) -> None:
    row = {"prompt": "p", "topic": "tea", "n": 7, "tags": ["a", None], "deep": {"x": 1.5}}

    assert read(write("p.csv", "topic,prompt,n\ntea,p,7\n,q,\n")) == [
        {"topic": "tea", "prompt": "p", "n": "7", **EMPTY},
        {"topic": "", "prompt": "q", "n": "", **EMPTY},
    ]
    assert read(write("p.csv", ",prompt,n\n0,p,7\n")) == [{"prompt": "p", "n": "7", **EMPTY}]  # pandas' index
    assert read(write("p.jsonl", json.dumps(row))) == [{**row, **EMPTY}]
    assert read(write("p.json", json.dumps([{"id": 3, "data": row}]))) == [{**row, **EMPTY}]


def test_an_answer_that_is_there_is_kept(write: Write) -> None:
    rows = [
        {"prompt": "p", "answer2": "Mine."},
        {"prompt": "q", "answer1": "A", "answer2": "B"},
        {"prompt": "r", "answer1": None},
    ]
    expected = [
        {"prompt": "p", "answer1": "", "answer2": "Mine."},
        {"prompt": "q", "answer1": "A", "answer2": "B"},
        {"prompt": "r", "answer1": "", "answer2": ""},  # Label Studio refuses a null if a tag shows the field
    ]

    assert read(write("p.json", json.dumps(rows))) == expected
    assert read(write("p.csv", "prompt,answer1,answer2\np,,Mine.\nq,A,B\nr\n")) == expected


def test_the_fields_are_those_of_the_projects_layout(write: Write) -> None:
    expected = [{"question": "Why?", "left": "", "right": ""}]

    for path in (write("p.txt", "Why?"), write("p.csv", "question\nWhy?"), write("p.jsonl", '{"question": "Why?"}')):
        assert read(path, RENAMED) == expected
    assert refusal(write("p.jsonl", '{"prompt": "Why?"}'), RENAMED) == (
        'p.jsonl, line 1: no prompt; it should be a text, or an object whose "question" is a text.'
    )


def test_half_an_emoji_becomes_a_replacement_character_wherever_it_stands(write: Write) -> None:
    """JavaScript cuts texts there; neither UTF-8 nor Label Studio takes it."""
    path = write("p.jsonl", '{"prompt": "cut \\ud83d", "notes": ["\\ude00", "\\ud83d\\ude00"], "k\\ud83d": 1}\n"\\ud83d alone"')

    rows = read(path)

    assert rows[0] == {"prompt": "cut \ufffd", "notes": ["\ufffd", "😀"], "k\ufffd": 1, **EMPTY}
    assert rows[1]["prompt"] == "\ufffd alone"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "Why\0?\nHow\0?\n"),
        ("p.csv", 'prompt,topic\n"Why\0?",\0\nHow?,\n'),
        ("p.jsonl", '{"prompt": "Why\\u0000?", "k\\u0000": 1}\n"How?"'),
        ("p.json", '[{"prompt": "Why?", "score": 1e999, "notes": [-1e999]}, "How?"]'),
        ("p.json", '[{"data": {"prompt": "Why?"}, "meta": {"by": "\\u0000"}, "annotations": [{"result": ["\\u0000"]}]}, "How?"]'),
    ],
)
def test_what_not_every_label_studio_stores_is_removed_and_counted(write: Write, name: str, content: str) -> None:
    """Its PostgreSQL takes no NUL, and its JSON no infinity."""
    prompts = PromptFile(write(name, content), LAYOUT)

    tasks = list(prompts)

    assert [task["data"]["prompt"] for task in tasks] == ["Why?", "How?"]
    assert prompts.remarks == {CHANGED: 2} and "NUL" in CHANGED
    assert storable(tasks) == (tasks, 0)


def test_a_row_of_nothing_else_is_refused(write: Write) -> None:
    assert refusal(write("p.txt", "Why?\n\0\n")).startswith("p.txt, line 2: no prompt;")


def test_a_number_that_json_does_not_know_becomes_null(write: Write) -> None:
    """Python writes NaN if pandas has no value; Label Studio could not be sent it."""
    assert read(write("p.jsonl", '{"prompt": "p", "a": NaN, "b": [-Infinity]}')) == [
        {"prompt": "p", "a": None, "b": [None], **EMPTY}
    ]
    assert refusal(write("p.jsonl", '{"prompt": NaN}')).startswith("p.jsonl, line 1: no prompt;")


@pytest.mark.parametrize(
    ("name", "content"), [("p.txt", ""), ("p.txt", "\n"), ("p.jsonl", ""), ("p.json", "[]"), ("p.csv", "prompt\n")]
)
def test_an_empty_file_holds_no_prompts(write: Write, name: str, content: str) -> None:
    assert read(write(name, content)) == []


def test_a_large_field_is_a_prompt_like_any_other(write: Write) -> None:
    assert [len(text) for text in texts(write("p.csv", f'prompt\n"{"x" * 200_000}"\nshort\n'))] == [200_000, 5]


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl"])
def test_a_big_file_is_read_as_it_is_needed(write: Write, name: str) -> None:
    text = "word " * 200
    path = write(name, "prompt\n" + f'"{text}"\n' * 4000)  # 4 MB
    if name == "p.jsonl":
        path.write_bytes(path.read_bytes().replace(b"prompt\n", b""))
    tracemalloc.start()
    try:
        rows = iter(PromptFile(path, LAYOUT))
        first = next(rows)
        _, peak_at_first = tracemalloc.get_traced_memory()
        num_rows = 1 + sum(1 for _ in rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert first["data"]["answer1"] == "" and num_rows >= 4000
    assert peak_at_first < 300_000 and peak < 600_000


@pytest.mark.parametrize(
    "content", ['{"prompt":"One"}\n{"prompt":"Two"}\n', '"One"\n\n"Two"', '[\n"One",\n"Two"]', '["One", "Two"]']
)
def test_json_lines_are_read_whatever_the_name_says(write: Write, content: str) -> None:
    """pandas' and datasets' to_json write them under the name .json."""
    assert texts(write("p.json", content)) == ["One", "Two"]


def test_one_object_in_a_json_file_is_one_task_as_for_label_studio(write: Write) -> None:
    assert texts(write("p.json", '{"prompt": "One"}')) == texts(write("p.json", '{\n "prompt": "One"\n}')) == ["One"]


def test_a_field_named_data_beside_a_prompt_is_a_field_like_any_other(write: Write) -> None:
    beside = {"prompt": "Name a cape.", "data": {"source": "web"}}

    assert read(write("p.jsonl", json.dumps(beside))) == [{**beside, **EMPTY}]
    within = {"prompt": "not this", "data": {"prompt": "Name a cape."}}
    assert texts(write("p.jsonl", json.dumps(within))) == ["Name a cape."], "as Label Studio reads it"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "prompt;answer1;answer2\nName a tree, please.;;\n"),
        ("p.csv", "prompt\tanswer1\tanswer2\nName a tree, please.\t\t\n"),
        ("p.tsv", "prompt\tanswer1\tanswer2\nName a tree, please.\t\t\n"),
        ("p.csv", 'prompt,"a;b;c",answer1,answer2\n"Name a tree, please.",,,\n'),
    ],
)
def test_a_tables_separator_is_read_from_its_header(write: Write, name: str, content: str) -> None:
    assert texts(write(name, content)) == ["Name a tree, please."]


def test_rows_of_nothing_are_no_prompts(write: Write) -> None:
    """Spreadsheets end with them."""
    assert texts(write("p.csv", "prompt,answer1,answer2\nName a river.,,\n,,\n , ,\n")) == ["Name a river."]


@pytest.mark.parametrize("name", ["p.txt.gz", "p.jsonl.gz", "p.csv.gz", "p.JSON.GZ"])
def test_a_compressed_file_is_read_like_the_file_in_it(write: Write, name: str) -> None:
    content = {"t": "One\nTwo", "j": '"One"\n"Two"', "c": "prompt\nOne\nTwo", "J": '["One", "Two"]'}[name[2]]

    assert texts(write(name, gzip.compress(content.encode()))) == ["One", "Two"]
    assert refusal(write(name, gzip.compress(content.encode())[:-9])).startswith(f"{name} cannot be read (")
    assert refusal(write(name, content)) == f"{name} cannot be read (Not a gzipped file ({content[:2].encode()!r}))."


def test_a_parquet_file_is_read_as_most_public_data_comes(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "p.parquet"
    row = {"prompt": "One", "tags": ["a", None], "score": math.nan, "at": datetime(2026, 1, 2)}
    parquet.write_table(pyarrow.Table.from_pylist([row, {"prompt": "Two"}]), path)

    assert read(path)[0] == {"prompt": "One", "tags": ["a", None], "score": None, "at": "2026-01-02 00:00:00", **EMPTY}
    assert texts(path) == ["One", "Two"]
    assert refusal(write("no.parquet", "One")).startswith("no.parquet is no Parquet file (")


# What is refused, and in which words


def test_a_name_without_a_known_ending_is_refused(write: Write) -> None:
    with pytest.raises(PromptFileError) as refused:
        PromptFile(Path("prompts.xlsx"), LAYOUT)

    assert str(refused.value) == (
        "prompts.xlsx is none of .txt, .csv, .tsv, .jsonl, .json, .parquet; rename it, or convert it to one of them."
    )


@pytest.mark.parametrize("num_before", [1, 3000])  # in the first piece that is read, and in a later one
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl"])
def test_a_file_that_is_not_utf_8_is_refused_with_the_line(write: Write, name: str, num_before: int) -> None:
    line = b'"prompt"\n'
    path = write(name, line * num_before + '"Grüße"\n'.encode("latin-1") + line)

    assert refusal(path) == f"{name}, line {num_before + 1}: not UTF-8 text; save the file as UTF-8."


def test_a_spreadsheets_utf_16_is_refused_with_what_to_do(write: Write) -> None:
    assert refusal(write("p.csv", "prompt\nWhy?\n".encode("utf-16"))) == "p.csv, line 1: not UTF-8 text; save the file as UTF-8."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '"One"\n\n{"prompt": \n"Two"\n', "p.jsonl, line 3: not JSON (Expecting value); correct it."),
        ("p.jsonl", "Why?\n", "p.jsonl, line 1: not JSON (Expecting value); correct it."),
        ("p.jsonl", '{"prompt": "a"} {"prompt": "b"}\n', "p.jsonl, line 1: not JSON (Extra data); correct it."),
        ("p.json", '[\n "One",\n Two\n]', "p.json, line 3: not JSON (Expecting value); correct it."),
        ("p.json", "", "p.json, line 1: not JSON (Expecting value); correct it."),
        ("p.json", '"One"\n"Two\n', "p.json, line 2: not JSON (Unterminated string starting at); correct it."),
        ("p.json", '{"prompt": "One"}\n{"prompt"}\n', "p.json, line 2: not JSON (Expecting ':' delimiter); correct it."),
    ],
)
def test_what_is_not_json_is_refused_with_its_line(write: Write, name: str, content: str, message: str) -> None:
    assert refusal(write(name, content)) == message


def test_json_that_python_cannot_hold_is_refused_too(write: Write) -> None:
    assert refusal(write("p.jsonl", '"One"\n' + "[" * 100_000)).startswith("p.jsonl, line 2: not JSON (")
    assert refusal(write("p.jsonl", '{"prompt": "p", "n": ' + "9" * 5000 + "}")).startswith("p.jsonl, line 1: not JSON (")


@pytest.mark.parametrize("content", ["7", "null", "true"])
def test_json_that_is_no_list_is_refused(write: Write, content: str) -> None:
    assert refusal(write("p.json", content)) == 'p.json should hold a list, such as [{"prompt": "..."}].'


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("p.jsonl", '"One"\n\n{"text": "Two"}\n', "line 3"),
        ("p.jsonl", '{"prompt": {}}', "line 1"),
        ("p.jsonl", '"  "', "line 1"),
        ("p.jsonl", '["One"]', "line 1"),
        ("p.jsonl", "null", "line 1"),
        ("p.jsonl", '{"data": {"text": "One"}, "text": "Two"}', "line 1"),
        ("p.json", '["One", {"prompt": null}]', "row 2"),
        ("p.csv", "topic,prompt\ntea,One\ntea,\n", "row 2"),
        ("p.csv", "topic,prompt\ntea\n", "row 1"),
    ],
)
def test_a_row_without_a_prompt_is_refused_with_its_place(write: Write, name: str, content: str, place: str) -> None:
    message = f'{name}, {place}: no prompt; it should be a text, or an object whose "prompt" is a text.'

    assert refusal(write(name, content)) == message


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("text,topic\nWhy?,tea\n", "text, topic"),
        ("question;topic\nWhy?;tea\n", "question, topic"),
        ("prompt|topic\nWhy?|tea\n", "prompt|topic"),
        ("Prompt\nWhy?\n", "Prompt"),
        ("", "none"),
    ],
)
def test_a_csv_without_the_column_is_refused_with_those_that_there_are(write: Write, content: str, columns: str) -> None:
    assert refusal(write("p.csv", content)) == f'p.csv has no column "prompt"; its columns: {columns}.'


def test_a_csv_row_that_is_longer_than_the_header_is_refused(write: Write) -> None:
    """An unquoted comma would cut the prompt."""
    assert refusal(write("p.csv", "prompt\nOne\nHello, world\n")) == (
        "p.csv, row 2: more fields than the header has; put a text that holds a comma in quotes."
    )
    assert texts(write("p.csv", "prompt,topic\nOne,tea,,\n")) == ["One"]  # a spreadsheet's empty columns


def test_a_csv_whose_quote_never_ends_is_refused(write: Write) -> None:
    """It would be one prompt with all that follows."""
    assert refusal(write("p.csv", 'prompt\nOne\n"Two\nThree\n')) == "p.csv, row 2: not CSV (unexpected end of data); correct it."


def test_a_csv_field_that_is_huge_is_refused_with_its_row(write: Write) -> None:
    path = write("p.csv", "prompt\nOne\n" + "x" * (2**24 + 1))

    assert refusal(path) == "p.csv, row 2: not CSV (field larger than field limit (16777216)); correct it."


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "p.txt") == "p.txt cannot be read (No such file or directory)."
