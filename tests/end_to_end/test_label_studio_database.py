"""The recorded database that Label Studio starts on in the demo, the benchmarks and these tests."""

from pathlib import Path

import pytest

from demo.label_studio_database import RECORD, dumped, first_start
from demo.stack import Stack
from tests.support.nightly import IS_NIGHTLY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_label_studio_finds_no_migration_to_apply(label_studio: Stack) -> None:
    assert "Initializing database" not in label_studio.label_studio.log.read_text()


@pytest.mark.skipif(not IS_NIGHTLY, reason="a first start takes more than a minute of a core; PAIRLOOP_NIGHTLY=1")
def test_a_first_start_makes_what_is_recorded(tmp_path: Path) -> None:
    first_start(tmp_path)

    assert dumped(tmp_path) == RECORD.read_text(encoding="utf-8")
