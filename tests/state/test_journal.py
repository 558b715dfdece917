"""The journal by itself: what is written is there for everyone, and for nobody else."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.state.conftest import TARGET, MiB, journal_in
from uploader.core.plan import Plan
from uploader.io.journal import FILE, Journal, Owner, Record, State, Target
from uploader.io.source import Identity

PLAN = Plan(file_size=17 * MiB, part_size=5 * MiB)
IDENTITY = Identity(size=17 * MiB, mtime_ns=2**62, ctime_ns=5, inode=2**63 + 7, device=9)

ODD_NAMES = [
    os.fsdecode(b"\xff.bin"),
    "two\nlines.bin",
    'it\'s "quoted".bin',
    "'; DROP TABLE upload; --",
    "日本\u202e.bin",
]


@pytest.fixture
def journal(state_dir: Path) -> Iterator[Journal]:
    with journal_in(state_dir) as opened:
        yield opened


def begin(journal: Journal, target: Target = TARGET, upload_id: str = "up_1") -> int:
    """An upload the service has named."""
    row = journal.begin(target, PLAN, IDENTITY, "d1")
    journal.name(row, upload_id)
    return row


def only(records: list[Record]) -> Record:
    assert len(records) == 1
    return records[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_journal_knows_of_nothing(journal: Journal) -> None:
    assert journal.all() == journal.find("up_1") == []
    assert journal.last(TARGET.key) is None
    assert journal.parts(1) == {}


def test_what_was_begun_is_known_in_full(journal: Journal) -> None:
    row = journal.begin(TARGET, PLAN, IDENTITY, "d1")
    record = journal.last(TARGET.key)
    assert record is not None
    assert (record.row, record.target, record.plan) == (row, TARGET, PLAN)
    assert (record.identity, record.digest, record.upload_id) == (IDENTITY, "d1", None)
    assert (record.state, record.reason) == (State.OPEN, "")
    assert (record.owner.pid, record.owner.host) == (os.getpid(), Owner.this().host)
    assert abs(record.created - Owner.this().since) < 60
    assert journal.all() == [], "the service has not named it"


def test_what_the_service_named_is_found_by_its_name(journal: Journal) -> None:
    row = begin(journal)
    assert only(journal.find("up_1")).row == only(journal.all()).row == row
    assert journal.find("up_2") == []


def test_a_named_upload_takes_the_place_of_what_was_left_of_the_same_target_only(journal: Journal) -> None:
    first, other = begin(journal), begin(journal, replace(TARGET, kind="asset"), "up_2")
    journal.store(first, [(1, "e", "m")])
    again = journal.begin(TARGET, PLAN, IDENTITY, "d2")
    assert {record.row for record in journal.all()} == {first, other}, "not yet: nobody may ever answer"
    journal.name(again, "up_3")
    assert {record.row for record in journal.all()} == {again, other}
    assert journal.parts(first) == {}


def test_one_that_is_gone_stays_to_be_seen_but_is_never_gone_on_with(journal: Journal) -> None:
    gone = begin(journal)
    journal.mark(gone, State.GONE, "the service no longer knows it")
    assert journal.last(TARGET.key) is None
    begin(journal, upload_id="up_2")
    assert [(it.upload_id, it.state, it.reason) for it in journal.all()] == [
        ("up_1", State.GONE, "the service no longer knows it"),
        ("up_2", State.OPEN, ""),
    ]
    last = journal.last(TARGET.key)
    assert last is not None
    assert last.upload_id == "up_2"


def test_stored_parts_are_counted_and_kept_with_what_was_sent(journal: Journal) -> None:
    row = begin(journal)
    assert journal.stored(only(journal.all())) == (0, 0)
    journal.store(row, [(1, '"e1"', "m1"), (3, None, None)])
    assert journal.parts(row) == {1: "m1", 3: None}
    assert journal.stored(only(journal.all())) == (2, 10 * MiB)
    journal.store(row, [(4, None, "m4"), (3, '"e3"', "m3")])
    assert journal.parts(row) == {1: "m1", 3: "m3", 4: "m4"}
    assert journal.stored(only(journal.all())) == (3, 12 * MiB), "the last part is short"


def test_one_upload_has_nothing_of_another_s_parts(journal: Journal) -> None:
    first, second = begin(journal), begin(journal, replace(TARGET, path="/other"), "up_2")
    journal.store(first, [(1, "e", "m")])
    assert journal.parts(second) == {}


def test_why_it_went_no_further_is_kept_until_it_is_gone_on_with(journal: Journal) -> None:
    row = begin(journal)
    journal.mark(row, State.CHANGED, "scene.glb was written to")
    record = only(journal.all())
    assert (record.state, record.reason) == (State.CHANGED, "scene.glb was written to")
    touched = replace(IDENTITY, ctime_ns=6)
    journal.go_on(row, touched)
    record = only(journal.all())
    assert (record.state, record.reason, record.identity) == (State.OPEN, "", touched)


def test_whoever_takes_it_is_its_owner(journal: Journal, state_dir: Path) -> None:
    row = begin(journal)
    with closing(sqlite3.connect(state_dir / FILE)) as connection:
        connection.execute("UPDATE upload SET pid = 1, host = 'elsewhere', since = 5")
        connection.commit()
    assert only(journal.all()).owner == Owner(1, "elsewhere", 5.0)
    journal.take(row)
    owner = only(journal.all()).owner
    assert (owner.pid, owner.host) == (os.getpid(), Owner.this().host)
    assert owner.since > 5


def test_forgetting_one_leaves_the_others(journal: Journal, state_dir: Path) -> None:
    first, second = begin(journal), begin(journal, replace(TARGET, path="/other"), "up_2")
    journal.store(first, [(1, "e", "m")])
    journal.remove(first)
    assert only(journal.all()).row == second
    with closing(sqlite3.connect(state_dir / FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM part").fetchone() == (0,), "its parts go with it"


def test_a_finished_target_leaves_nothing_behind(journal: Journal) -> None:
    journal.mark(begin(journal), State.GONE, "")
    begin(journal, upload_id="up_2")
    other = begin(journal, replace(TARGET, project_id=""), "up_3")
    journal.finish(TARGET.key)
    assert only(journal.all()).row == other


@pytest.mark.parametrize("field", Target.__dataclass_fields__)
def test_every_part_of_a_target_tells_it_from_others(field: str) -> None:
    assert replace(TARGET, **{field: "another"}).key != TARGET.key
    assert TARGET.key.isalnum(), "it names a file"


def test_the_oldest_comes_first(journal: Journal) -> None:
    for number in range(5):
        begin(journal, replace(TARGET, path=f"/{number}"), f"up_{9 - number}")
    assert [it.upload_id for it in journal.all()] == ["up_9", "up_8", "up_7", "up_6", "up_5"]


def test_a_committed_part_is_seen_by_others_at_once(journal: Journal, state_dir: Path) -> None:
    row = begin(journal)
    with journal_in(state_dir) as other:
        assert other.parts(row) == {}
        for number in range(1, 5):
            journal.store(row, [(number, "e", "m")])
            assert sorted(other.parts(row)) == list(range(1, number + 1))


def test_it_is_there_after_it_was_closed(state_dir: Path) -> None:
    with journal_in(state_dir) as journal:
        row = begin(journal)
        journal.store(row, [(2, "e", "m")])
    with journal_in(state_dir) as journal:
        assert only(journal.all()).upload_id == "up_1"
        assert journal.parts(row) == {2: "m"}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_no_encoding_takes_are_kept_as_they_are(name: str, state_dir: Path) -> None:
    odd = replace(TARGET, file_name=name, path=f"/data/{name}/{name}")
    with journal_in(state_dir) as journal:
        row = begin(journal, odd)
        begin(journal, upload_id="up_2")
    with journal_in(state_dir) as journal:
        record = journal.last(odd.key)
        assert record is not None
        assert (record.row, record.target) == (row, odd)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_reason_may_quote_any_name(name: str, journal: Journal) -> None:
    row = begin(journal)
    journal.mark(row, State.CHANGED, f"{name} was written to during the upload")
    record = only(journal.all())
    assert record.state is State.CHANGED
    assert "was written to during the upload" in record.reason


def test_ten_thousand_parts_are_kept(state_dir: Path) -> None:
    plan = Plan(file_size=10_000 * 5 * MiB - 1, part_size=5 * MiB)
    parts = [(number, f'"{number:032x}"', f"{number:032x}") for number in range(1, 10_001)]
    with journal_in(state_dir) as journal:
        row = journal.begin(TARGET, plan, replace(IDENTITY, size=plan.file_size), "d1")
        journal.name(row, "up_1")
        journal.store(row, parts[:-20])
        for part in parts[-20:]:
            journal.store(row, [part])
    with journal_in(state_dir) as journal:
        assert journal.parts(row) == {number: md5 for number, _, md5 in parts}
        assert journal.stored(only(journal.all())) == (10_000, plan.file_size)


def test_nobody_else_can_read_it_whatever_the_umask(state_dir: Path) -> None:
    before = os.umask(0)
    try:
        with journal_in(state_dir) as journal:
            begin(journal)
            modes = {path.name: mode(path) for path in state_dir.rglob("*")}
            assert modes.pop("locks") == mode(state_dir) == 0o700
            assert FILE in modes
            assert set(modes.values()) == {0o600}, modes
    finally:
        os.umask(before)


def test_a_journal_that_others_could_read_is_closed_to_them(state_dir: Path) -> None:
    with journal_in(state_dir) as journal:
        begin(journal)
    (state_dir / FILE).chmod(0o644)
    with journal_in(state_dir) as journal:
        assert only(journal.all()).upload_id == "up_1"
        assert mode(state_dir / FILE) == 0o600


def test_runs_that_begin_at_once_make_one_journal_together(tmp_path: Path) -> None:
    for attempt in range(5):
        directory, barrier = tmp_path / str(attempt), threading.Barrier(8)

        def run(number: int, directory: Path = directory, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with journal_in(directory) as journal:
                begin(journal, replace(TARGET, path=str(number)), f"up_{number}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run, range(8)))
        with journal_in(directory) as journal:
            assert {it.upload_id for it in journal.all()} == {f"up_{number}" for number in range(8)}


@pytest.mark.parametrize("busy", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_whoever_is_at_a_journal_without_wal_is_waited_for(busy: str, state_dir: Path) -> None:
    """As when two first runs begin at once, and one reads or turns on WAL while the other is about to."""
    with journal_in(state_dir) as journal:
        begin(journal)
    with closing(
        sqlite3.connect(state_dir / FILE, isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(busy)
        connection.execute("SELECT count(*) FROM upload").fetchone()
        timer = threading.Timer(0.15, connection.execute, ["COMMIT"])
        timer.start()
        try:
            with journal_in(state_dir) as journal:
                begin(journal, upload_id="up_2")
        finally:
            timer.join()
