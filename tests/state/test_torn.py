"""A journal that cannot be used is set aside, and costs nobody an upload."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.state.conftest import (
    PART,
    TARGET,
    Ear,
    interrupt,
    journal_in,
    make_uploader,
    record,
    send,
    sha256,
)
from uploader import InputError, StateError, Uploader
from uploader.io.journal import FILE, Journal
from uploader.local import Service

Spoil = Callable[[Path], None]
PAGE = 4096


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(3 * PAGE))


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // PAGE // 2 * PAGE
    content[middle : middle + PAGE] = random.Random(2).randbytes(PAGE)
    path.write_bytes(content)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path: Path) -> None:
    path.write_text("what I did on my holidays\n" * 50, encoding="utf-8")


def unindexed(path: Path) -> None:
    """An index misses a row of its table: every page of the file is in order."""
    with closing(sqlite3.connect(path)) as connection:
        index = connection.execute("SELECT * FROM sqlite_master WHERE name = 'upload_by_key'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'upload_by_key'")
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE upload SET id = id + 70")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
        connection.commit()


def versioned(number: int) -> Spoil:
    def spoil(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
            connection.commit()

    return spoil


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")
        connection.execute("INSERT INTO bookmark VALUES ('https://example.org')")
        connection.commit()


SPOILT: dict[str, Spoil] = {
    "garbage": garbage,
    "a page overwritten": overwritten,
    "half of it": halved,
    "text": text,
    "an index torn": unindexed,
    "another program's": of_another_program,
    "an older version": versioned(0),
    "a newer version": versioned(2),
}


@pytest.fixture
def journal_file(state_dir: Path, picture: Path, service: Service) -> Path:
    """A journal with an upload of which one part is stored."""
    interrupt(make_uploader(service), picture)
    return state_dir / FILE


def set_aside(journal_file: Path) -> list[bytes]:
    """What is in the state directory besides the journal."""
    return [
        path.read_bytes() for path in journal_file.parent.iterdir() if path.is_file() and path != journal_file
    ]


@pytest.mark.parametrize("spoilt", SPOILT)
def test_it_is_set_aside_as_it_is_and_the_upload_goes_on_and_is_recorded(
    spoilt: str, journal_file: Path, picture: Path, service: Service
) -> None:
    SPOILT[spoilt](journal_file)
    content = journal_file.read_bytes()
    ear = interrupt(make_uploader(service), picture)
    assert len(ear.troubles) == 1, ear.troubles
    assert "set aside" in ear.troubles[0]
    assert set_aside(journal_file) == [content]
    again = Ear()
    result = send(make_uploader(service), picture, again)
    assert not again.troubles
    assert result.bytes_resumed == PART, "the run after the trouble was recorded"
    assert service.sha256(result.upload_id) == sha256(picture)
    assert set_aside(journal_file) == [content]


@pytest.mark.parametrize("spoilt", SPOILT)
def test_whoever_only_looks_is_told_and_loses_nothing(spoilt: str, state_dir: Path, service: Service) -> None:
    record(state_dir)
    journal_file = state_dir / FILE
    SPOILT[spoilt](journal_file)
    content = journal_file.read_bytes()
    with pytest.raises(StateError, match="set aside"):
        make_uploader(service).uploads()
    assert set_aside(journal_file) == [content]
    assert make_uploader(service).uploads() == []


def test_an_empty_file_is_begun_anew_without_a_word(
    journal_file: Path, picture: Path, service: Service
) -> None:
    journal_file.write_bytes(b"")
    ear = interrupt(make_uploader(service), picture)
    assert not ear.troubles
    assert send(make_uploader(service), picture).bytes_resumed == PART


def test_garbage_in_the_write_ahead_log_costs_no_more_than_what_was_in_it(
    journal_file: Path, picture: Path, service: Service
) -> None:
    journal_file.with_name(f"{FILE}-wal").write_bytes(random.Random(3).randbytes(5 * PAGE))
    journal_file.with_name(f"{FILE}-shm").write_bytes(random.Random(4).randbytes(8 * PAGE))
    ear = Ear()
    result = send(make_uploader(service), picture, ear)
    assert service.sha256(result.upload_id) == sha256(picture)
    assert not ear.troubles
    assert result.bytes_resumed == PART, "that was in the file itself"


@pytest.mark.parametrize(("before", "after"), [(3, 1), (40, 5)])
def test_a_log_whose_journal_was_removed_is_not_taken_for_the_next_one_s(
    before: int, after: int, state_dir: Path, picture: Path, service: Service
) -> None:
    """A run was killed, and the journal removed by hand, but not what SQLite keeps beside it."""
    killed = """
import os, sys
from dataclasses import replace
from pathlib import Path
from tests.state.conftest import TARGET, journal_in, record
directory, before, after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(before):
    record(directory, replace(TARGET, path=f"/{number}"))
with journal_in(directory):
    for number in range(before, before + after):
        record(directory, replace(TARGET, path=f"/{number}"))
    os._exit(0)
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", killed, state_dir, str(before), str(after)], cwd=root, check=True)
    assert (state_dir / f"{FILE}-wal").stat().st_size > 0
    (state_dir / FILE).unlink()
    assert not interrupt(make_uploader(service), picture).troubles
    with journal_in(state_dir) as journal:
        assert [record.target.path for record in journal.all()] == [str(picture)]
    ear = Ear()
    assert send(make_uploader(service), picture, ear).bytes_resumed == PART
    assert not ear.troubles


def test_what_a_newer_version_left_in_its_write_ahead_log_is_set_aside_with_it(
    state_dir: Path, picture: Path, service: Service
) -> None:
    """A newer version was killed: what it committed last is in the log alone."""
    state_dir.mkdir(mode=0o700)
    newer = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA user_version = 9")
connection.execute("PRAGMA application_id = 0x53554A4C")
connection.execute("CREATE TABLE upload (id INTEGER PRIMARY KEY, wisdom TEXT)")
connection.execute("INSERT INTO upload (wisdom) VALUES ('of the future')")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", newer, state_dir / FILE], check=True)
    (state_dir / FILE).chmod(0o600)
    assert (state_dir / f"{FILE}-wal").stat().st_size > 0
    ear = Ear()
    send(make_uploader(service), picture, ear)
    assert len(ear.troubles) == 1
    found = [path for path in state_dir.glob(f"{FILE}.*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(found) == 1
    with closing(sqlite3.connect(found[0])) as connection:
        assert connection.execute("SELECT wisdom FROM upload").fetchall() == [("of the future",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (9,)


def test_what_was_set_aside_is_never_overwritten(state_dir: Path) -> None:
    """Not even by the next one that is set aside within the same second."""
    state_dir.mkdir(mode=0o700)
    spoilt = [b"not a journal %d\n" % number * 100 for number in range(4)]
    for content in spoilt:
        (state_dir / FILE).write_bytes(content)
        troubles: list[str] = []
        Journal.open(state_dir, troubles.append).close()
        assert len(troubles) == 1
    assert sorted(set_aside(state_dir / FILE)) == spoilt


def test_two_that_find_it_torn_at_once_set_it_aside_once(journal_file: Path) -> None:
    garbage(journal_file)
    content = journal_file.read_bytes()
    barrier, troubles = threading.Barrier(6), list[str]()

    def open_it(number: int) -> None:
        barrier.wait()
        with Journal.open(journal_file.parent, troubles.append) as journal:
            journal.all()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_it, range(6)))
    assert len(troubles) == 1
    assert set_aside(journal_file) == [content]


# Values no version ever wrote: a disk that flips bits, or a hand that edits. The file itself is whole.
NONSENSE = [
    "UPDATE upload SET part_size = 'much'",
    "UPDATE upload SET file_size = 1e30",
    "UPDATE upload SET file_size = 1",
    "UPDATE upload SET upload_id = x'ff'",
    "UPDATE upload SET upload_id = '../../x?y#z'",
    "UPDATE upload SET identity = json_set(identity, '$.size', 'large')",
    "INSERT INTO part VALUES (1, 99, 'e', 'm')",
    "INSERT INTO part VALUES (1, 'x', 'e', 'm')",
    "DROP TABLE part",
    # What follows matters to whoever only looks.
    "UPDATE upload SET part_size = 0",
    "UPDATE upload SET state = 'sleeping'",
    "UPDATE upload SET target = '{}'",
    "UPDATE upload SET target = json_set(target, '$.path', 5)",
    "UPDATE upload SET reason = x'ff00'",
    "UPDATE upload SET created = 'once upon a time'",
    "UPDATE upload SET updated = -1e300",
    "UPDATE upload SET pid = 'who', since = 'when'",
]


@pytest.mark.parametrize("sql", NONSENSE[:9])
def test_an_upload_never_fails_for_what_the_journal_says(
    sql: str, state_dir: Path, icon: Path, service: Service
) -> None:
    interrupt(make_uploader(service), icon)
    with closing(sqlite3.connect(state_dir / FILE)) as connection:
        connection.execute(sql)
        connection.commit()
    ear = Ear()
    result = send(make_uploader(service), icon, ear, timeout=3)
    assert service.sha256(result.upload_id) == sha256(icon)
    assert len(ear.troubles) <= 1


def drop(table: str) -> Spoil:
    def spoil(state: Path) -> None:
        with closing(sqlite3.connect(state / FILE)) as connection:
            connection.execute(f"DROP TABLE {table}")
            connection.commit()

    return spoil


def put_a_file_in_place_of_the_locks(state: Path) -> None:
    shutil.rmtree(state / "locks")
    (state / "locks").touch()


MEANWHILE: dict[str, tuple[Spoil, str]] = {
    "the uploads": (drop("upload"), "journal cannot be used: no such table"),
    "the parts": (drop("part"), "cannot be read from the journal: no such table"),
    "the locks": (put_a_file_in_place_of_the_locks, "journal cannot be used: Not a directory"),
    "all of it": (lambda state: garbage(state / FILE), "journal cannot be used: the journal is torn"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_whoever_goes_on_with_one_upload_is_told_what_is_wrong_with_the_journal(
    what: str, state_dir: Path, picture: Path, service: Service
) -> None:
    """And neither that the upload goes on, nor that somebody else finished it."""
    interrupt(make_uploader(service), picture)
    spoil, said = MEANWHILE[what]
    ear, before = Ear(), len(service.requests)
    with make_uploader(service) as uploader:
        (pending,) = uploader.uploads()
        job = uploader.prepare_resume(pending.upload_id)
        spoil(state_dir)
        with pytest.raises(StateError, match=said) as caught:
            uploader.run(job, progress=ear)
    assert caught.value.upload_id == pending.upload_id
    assert not ear.troubles
    assert len(service.requests) == before


@pytest.mark.parametrize("sql", NONSENSE)
def test_whoever_only_looks_gets_a_list_or_a_typed_error(sql: str, state_dir: Path) -> None:
    record(state_dir)
    with closing(sqlite3.connect(state_dir / FILE)) as connection:
        connection.execute(sql)
        connection.commit()
    uploader = Uploader(base_url=TARGET.base_url, api_key="k", api_secret="s", project_id=TARGET.project_id)
    for look in (
        uploader.uploads,
        lambda: uploader.prepare_resume("upload_1"),
        lambda: uploader.forget("upload_1"),
    ):
        with suppress(InputError):
            look()
