import json
from pathlib import Path

from preference.labelling.prompts import Turn
from trainer.rating.replies import Replies


def test_replies_are_kept_as_they_come_by_their_texts_and_order(tmp_path: Path) -> None:
    path = tmp_path / "raters" / "tiny.jsonl"
    replies = Replies(path)
    assert replies.find("Why?", "a", "b") is None
    replies.keep("Why?", "a", "b", "first")
    replies.keep((Turn("user", "Why?"), Turn("user", "Now?")), "a\ud83d", "b", "tie")
    replies.keep("Who?", "a", "b", "refused")
    assert replies.find("Who?", "a", "b") == "refused"

    again = Replies(path)
    assert again.find("Why?", "a", "b") == "first"
    assert again.find("Why?", "b", "a") is None
    assert again.find((Turn("user", "Why?"), Turn("user", "Now?")), "a\ud83d", "b") == "tie"
    assert again.find("Who?", "a", "b") is None, "a server may refuse it no more"
    assert "Why?" not in path.read_text()


def test_a_torn_line_and_lines_that_are_none_cost_themselves_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    replies = Replies(path)
    replies.keep("Why?", "a", "b", "first")
    replies.keep("Why?", "b", "a", "second")
    path.write_bytes(path.read_bytes()[:-5])  # a kill within a line
    with path.open("ab") as file:
        file.write(b'\n[]\n{"a": 1}\n["x", "nonsense"]\n\xff\n[[1], 2]')
    Replies(path).keep("Why?", "c", "d", "tie")

    again = Replies(path)
    assert [again.find("Why?", *order) for order in (("a", "b"), ("b", "a"), ("c", "d"))] == ["first", None, "tie"]
    assert json.loads(path.read_bytes().splitlines()[-1])[1] == "tie"
