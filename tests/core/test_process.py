import sys
from pathlib import Path

import pytest

from core import process


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_process_holds_some_memory_and_not_all_there_is() -> None:
    assert 10_000_000 < process.resident_bytes() < 10_000_000_000


def test_where_the_system_does_not_tell_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_STATM", Path("/nowhere/statm"))
    assert process.resident_bytes() == 0
