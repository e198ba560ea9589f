"""The contract of backends, kept by `acme_lake`, and what is its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from acme_lake.backend import LakeBackend

from eventtracking_testkit.contracts import BackendContract
from eventtracking_testkit.samples import sample_event, sample_events


def read(folder: Path) -> list[dict[str, Any]]:
    """Read every event, from finished and open files, each id once."""
    lines = [line for path in folder.rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    return list({row["id"]: row for row in map(json.loads, lines)}.values())


def parts(folder: Path, form: str = "jsonl") -> list[Path]:
    """List the finished files."""
    return sorted(path for path in folder.glob(f"date=*/name=*/part-*.{form}"))


class TestLake(BackendContract):
    """Inherits the tests of every backend."""

    plugin = "acme_lake"

    @pytest.fixture
    def options(self, tmp_path: Path) -> Mapping[str, Any]:
        """Write to a folder of this test's own."""
        return {"path": str(tmp_path / "lake")}

    @pytest.fixture
    def stored(self, options: Mapping[str, Any]) -> Callable[[], list[dict[str, Any]]]:
        """Read the files, past the backend."""
        return lambda: read(Path(options["path"]))


def opened(folder: Path, **options: Any) -> LakeBackend:
    backend = LakeBackend(path=str(folder), **options)
    backend.open()
    return backend


def test_files_by_date_and_name(tmp_path: Path) -> None:
    """Each date and name has a folder; a name that no file system takes is quoted."""
    backend = opened(tmp_path)
    backend.send([sample_event(name=name) for name in ("a.b", "../up", "nul\0", "n" * 1_000)])
    backend.close()
    names = {path.parent.name for path in parts(tmp_path)}
    assert {"name=a.b", "name=..%2Fup", "name=nul%00"} < names
    assert len(names) == 4
    assert {path.relative_to(tmp_path).parts[0][:5] for path in parts(tmp_path)} == {"date="}


@pytest.mark.parametrize("limit", [{"max_rows": 10}, {"max_bytes": 2_000}])
def test_a_full_file_ends(tmp_path: Path, limit: dict[str, Any]) -> None:
    """Rows and bytes end a file at once."""
    backend = opened(tmp_path, **limit)
    for event in sample_events(25):
        backend.send([event.replace(name="a")])
    assert len(parts(tmp_path)) >= 2
    backend.close()
    assert len(read(tmp_path)) == 25


def test_an_old_file_ends_without_an_event(tmp_path: Path) -> None:
    """`tick` ends what is old; nothing waits for the next event."""
    backend = opened(tmp_path, max_age_s=1e-9)
    backend.send([sample_event()])
    assert parts(tmp_path) == []
    backend.tick()
    assert len(parts(tmp_path)) == 1


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    """The next process finishes the open file, once, half a line apart."""
    code = (
        "import os, sys, time; from acme_lake.backend import LakeBackend;"
        "from eventtracking_testkit.samples import sample_events;"
        "b = LakeBackend(path=sys.argv[1]); b.open();"
        "b.send([e.replace(name='a') for e in sample_events(5)]); print('sent', flush=True);"
        "time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"sent\n"
    opened(tmp_path).close()
    assert parts(tmp_path) == []  # the child lives: its file is left alone
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (left,) = (tmp_path / "_open").rglob("*.jsonl")
    with left.open("ab") as file:
        file.write(b'{"name":"half')
    kept = left.read_bytes()
    opened(tmp_path).close()
    (part,) = parts(tmp_path)
    assert len(part.read_bytes().splitlines()) == 5
    left.write_bytes(kept)  # as if the process had died before it removed the file
    opened(tmp_path).close()
    assert parts(tmp_path) == [part]


def test_parquet(tmp_path: Path) -> None:
    """A Parquet file has a column for each field; nested values are JSON."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="acme-lake[parquet] is not installed")
    backend = opened(tmp_path, format="parquet")
    event = sample_event(name="a", data={"course": "botany"})
    backend.send([event])
    backend.close()
    (path,) = parts(tmp_path, "parquet")
    (row,) = parquet.ParquetFile(path).read().to_pylist()
    assert (row["id"], row["name"], row["timestamp"]) == (event.id, "a", event.timestamp)
    assert json.loads(row["data"]) == {"course": "botany"}
