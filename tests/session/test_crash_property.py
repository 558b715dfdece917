"""Killed at any moment, any number of times: in the end the file is there, and nothing was sent twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.machine import CALM, PART, Machine, Troubles
from tests.session.world import Signs, World, error
from uploader.core.calls import Call
from uploader.core.events import JournalKept, JournalTrouble, PartStored, Recreating
from uploader.core.plan import Plan
from uploader.errors import UploadFailedError
from uploader.io.journal import Journal, JournalError, Target
from uploader.io.source import Identity, Source
from uploader.options import TransferOptions
from uploader.pending import settled

# Where there is one, a file system in memory: what is proved here is the order of writes.
MEMORY = next((path for path in (Path("/dev/shm"),) if path.is_dir()), None)


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@cache
def versions(files: Path, parts: int) -> tuple[Path, ...]:
    """A file of so many parts, the last one shorter; the same again; and others of which one byte differs.

    From four parts on it differs where the source takes no sample.
    """
    random = Random(parts)
    data = bytearray(random.randbytes(parts * PART - 1000))
    made = [written(files / f"{parts}-{number}.glb", data) for number in range(2)]
    while len(made) < 6:
        changed = data.copy()
        changed[random.randrange(len(data))] ^= 1
        path = written(files / f"{parts}-{len(made)}.glb", changed)
        if parts < 4 or digest(path) == digest(made[0]):
            made.append(path)
    return tuple(made)


def written(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


def digest(path: Path) -> str:
    return Source(path, Identity.of(path.stat())).digest()


@contextmanager
def machine(
    files: Path, parts: int, seed: int, options: TransferOptions | None = None, *, signs: Signs = "anew"
) -> Iterator[Machine]:
    """A new machine, with a file of so many parts."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as root:
        options = options or TransferOptions(concurrency=3)
        yield Machine(versions(files, parts), Path(root), Random(seed), options, signs)


def settle(machine: Machine) -> None:
    """From here on all goes well: it is done, after a rejection that was decided before at the most."""
    session = machine.run()
    assert session is not None
    if session.error is not None:
        assert isinstance(session.error, UploadFailedError), "an error without any trouble"
        session = machine.run()
        assert session is not None
    assert session.result is not None
    assert machine.journaled() == {}, "something is left in the journal"


SEEDS = st.integers(0, 2**32)
WORLDS = st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.3, 0.7])


@settings(max_examples=150)
@given(
    seed=SEEDS,
    parts=st.integers(1, 8),
    lives=st.integers(1, 8),
    world=WORLDS,
    concurrency=st.integers(1, 5),
    signs=st.sampled_from(get_args(Signs)),
    rewrites=st.sampled_from([0.0, 0.0, 0.5]),
    wait_for=st.sampled_from(["validated", "validated", "imported", None]),
    verify=st.sampled_from(["md5", "md5", "none"]),
    verify_source=st.sampled_from(["sampled", "sampled", "full"]),
)
def test_whenever_it_dies_it_goes_on_until_all_of_the_file_is_there(
    files: Path,
    seed: int,
    parts: int,
    lives: int,
    world: float,
    concurrency: int,
    signs: Signs,
    rewrites: float,
    wait_for: Any,
    verify: Any,
    verify_source: Any,
) -> None:
    options = TransferOptions(
        concurrency=concurrency, wait_for=wait_for, verify=verify, verify_source=verify_source
    )
    with machine(files, parts, seed, options, signs=signs) as it:
        for _ in range(lives):
            it.run(Troubles(world, die_at=it.random.randrange(30 + 20 * parts)))
            if it.random.random() < rewrites:
                it.rewrite()
        settle(it)


@settings(max_examples=150)
@given(
    seed=SEEDS,
    parts=st.integers(1, 8),
    lives=st.integers(1, 8),
    world=WORLDS,
    signs=st.sampled_from(get_args(Signs)),
    deadly=st.booleans(),
    journal=st.sampled_from([0.02, 0.2, 1.0]),
    writes=st.sampled_from(["", "", "begin", "name", "store", "mark gone", "finish", "remove", "go_on"]),
    reads=st.booleans(),
)
def test_a_journal_that_fails_costs_bytes_and_never_the_upload(
    files: Path,
    seed: int,
    parts: int,
    lives: int,
    world: float,
    signs: Signs,
    deadly: bool,
    journal: float,
    writes: str,
    reads: bool,
) -> None:
    with machine(files, parts, seed, signs=signs) as it:
        for _ in range(lives):
            die_at = it.random.randrange(30 + 20 * parts) if deadly else None
            session = it.run(Troubles(world, die_at, journal=journal, writes=writes, reads=reads))
            if session is not None and world == 0:
                assert session.error is None, "it failed for its journal"
        settle(it)


# Every moment there is


def anew(it: Machine) -> None:
    """Nothing was left."""


def half(it: Machine) -> None:
    """An earlier run died when it had stored a part."""
    it.run(Troubles(die_in="told PartStored"))


def forgotten(it: Machine) -> None:
    """As `half`, and the service does not know the upload any more."""
    half(it)
    for upload in it.uploads.values():
        upload.gone = True


def rewritten(it: Machine) -> None:
    """As `half`, and the file is another."""
    half(it)
    it.path = it.versions[-1]


def survived(
    files: Path, before: Callable[[Machine], None], troubles: Troubles = CALM, seed: int = 5
) -> Counter[str]:
    """Die at every moment of a run, each time on a new machine; where it did."""
    moments: Counter[str] = Counter()
    for die_at in range(2000):
        with machine(files, 2, seed) as it:
            before(it)
            it.moments.clear()
            session = it.run(replace(troubles, die_at=die_at))
            moments += it.moments
            settle(it)
            if session is not None:
                return moments
    raise AssertionError("no end")


SENT = ("before PartEnded", "before PartStored", "told PartStored", "in a put", "told PhaseChanged sending")
STORED = tuple(f"store: {at}" for at in ("before BEGIN", "after INSERT", "before COMMIT", "after COMMIT"))
ENDED = (
    "in complete the upload, completing",
    "told PhaseChanged validating",
    "in look at the upload, validating",
    "before Finished",
    "finish: before COMMIT",
    "finish: after COMMIT",
    "told Finished",
)
NAMED = (
    "begin: before COMMIT",
    "begin: after COMMIT",
    "in create the upload, creating",
    "before UploadCreated",
    "name: before COMMIT",
    "name: after COMMIT",
    "told UploadCreated",
    "told JournalKept",
)
TAKEN = ("last: after SELECT", "parts: after SELECT", "go_on: after COMMIT", "told PhaseChanged resuming")


@pytest.mark.parametrize(
    ("before", "moments"),
    [
        (anew, (*NAMED, *SENT, *STORED, *ENDED)),
        (half, (*TAKEN, "told UploadResumed", *SENT, *STORED, *ENDED)),
        (
            forgotten,
            (*TAKEN, "before Recreating", "mark gone: after COMMIT", "told Recreating", *NAMED, *SENT),
        ),
        (rewritten, ("parts: after SELECT", "told Recreating", *NAMED, *SENT, *STORED, *ENDED)),
    ],
)
def test_there_is_no_moment_at_which_it_must_not_die(
    files: Path, before: Callable[[Machine], None], moments: tuple[str, ...]
) -> None:
    died = survived(files, before)
    assert not set(moments) - set(died), "moments at which it never died"


@pytest.mark.parametrize(
    ("before", "writes"),
    [
        (anew, ""),
        (anew, "finish"),
        (half, "go_on"),
        (forgotten, ""),
        (forgotten, "mark gone"),
        (forgotten, "begin"),
        (forgotten, "name"),
        (forgotten, "store"),
    ],
)
def test_it_may_die_at_any_moment_while_the_journal_fails(
    files: Path, before: Callable[[Machine], None], writes: str
) -> None:
    assert survived(files, before, Troubles(journal=1.0, writes=writes))


@pytest.mark.parametrize("seed", range(3))
def test_it_may_die_at_any_moment_in_an_outage(files: Path, seed: int) -> None:
    assert survived(files, half, Troubles(world=0.5), seed)


# What the next run makes of it


def test_an_upload_that_was_never_named_is_begun_anew_and_that_is_told(files: Path) -> None:
    with machine(files, 2, 0) as it:
        it.run(Troubles(die_in="in create"))
        assert it.journaled() == {"": {}}
        it.run()
        (event,) = [event for event in it.told if isinstance(event, Recreating)]
        assert event.old_upload_id == ""


def test_an_upload_that_was_left_is_not_asked_for_again(files: Path) -> None:
    with machine(files, 2, 0) as it:
        forgotten(it)
        it.run(Troubles(die_in="told Recreating"))
        assert it.left == {"up0"}
        it.run()
        assert it.world is not None
        assert it.world.asked[0] is Call.CREATE


def test_begun_anew_on_purpose_the_interrupted_upload_is_forgotten_even_if_it_dies_again(files: Path) -> None:
    with machine(files, 2, 0) as it:
        half(it)
        it.options = replace(it.options, resume=False)
        it.run(Troubles(die_in="in create"))
        it.options = replace(it.options, resume=True)
        assert sent_then(it) == [1, 2]


@pytest.mark.parametrize("version", range(1, 6))
@pytest.mark.parametrize("verify", ["md5", "none"])
def test_what_was_sent_of_a_file_that_changed_between_the_samples_is_never_used(
    files: Path, verify: Any, version: int
) -> None:
    with machine(files, 6, version, TransferOptions(verify=verify)) as it:
        it.run(Troubles(die_in="in complete"))
        it.path = it.versions[version]
        sent = sent_then(it)
        assert sent == ([] if (verify, version) == ("md5", 1) else [1, 2, 3, 4, 5, 6])


# The journal fails, and what it costs


@pytest.mark.parametrize("writes", ["begin", "name", "store", "finish", ""])
def test_without_a_journal_that_can_be_written_the_file_is_uploaded_all_the_same(
    files: Path, writes: str
) -> None:
    with machine(files, 3, 0) as it:
        session = it.run(Troubles(journal=1.0, writes=writes))
        assert session is not None
        assert session.result is not None
        assert sum(isinstance(event, JournalTrouble) for event in it.told) == 1


def test_parts_that_could_not_be_written_are_written_with_the_next(files: Path) -> None:
    with machine(files, 3, 0) as it:
        it.run(Troubles(journal=1.0, writes="store", failures=2, die_in="in complete"))
        (parts,) = it.journaled().values()
        assert parts.keys() == {1, 2, 3}
        assert sent_then(it) == []


def test_a_name_that_could_not_be_written_is_written_with_the_next_part(files: Path) -> None:
    with machine(files, 3, 0) as it:
        it.run(Troubles(journal=1.0, writes="name", failures=1, die_in="in complete"))
        told = [event for event in it.told if isinstance(event, JournalKept | JournalTrouble | PartStored)]
        assert [type(event) for event in told[:3]] == [JournalTrouble, PartStored, JournalKept]
        assert sent_then(it) == []


def test_what_cannot_be_written_of_a_new_upload_is_not_written_to_the_old_ones_record(files: Path) -> None:
    with machine(files, 3, 0) as it:
        forgotten(it)
        before = it.journaled()
        it.run(Troubles(journal=1.0, die_in="in complete"))
        assert it.journaled() == before


def test_parts_that_could_not_be_written_before_a_start_over_are_not_written_after_it(files: Path) -> None:
    def act(world: World) -> None:
        world.end_call()
        world.end_put(number=1)
        world.end_put(error("NoSuchUpload", 404), number=2)
        world.end_call()
        world.end_put()  # aborted
        assert world.calls[0].call is Call.CREATE
        world.end_call()
        assert it.journaled()["up1"] == {}

    with machine(files, 3, 0) as it:
        session = it.run(Troubles(journal=1.0, writes="store", failures=1), act)
        assert session is not None
        assert session.result is not None
        assert session.result.recreated


def test_an_old_record_that_cannot_be_marked_is_replaced_by_the_new_uploads(files: Path) -> None:
    with machine(files, 3, 0) as it:
        forgotten(it)
        it.run(Troubles(journal=1.0, writes="mark gone", die_in="in complete"))
        assert [parts.keys() for parts in it.journaled().values()] == [{1, 2, 3}]
        assert "up0" not in it.journaled()
        assert sent_then(it) == []


@pytest.mark.parametrize("die_in", ["in complete", "in look at the upload, validating"])
def test_a_disk_that_was_full_when_the_last_part_was_stored_costs_nothing(files: Path, die_in: str) -> None:
    with machine(files, 1, 0) as it:
        it.run(Troubles(journal=1.0, writes="store", failures=1, die_in=die_in))
        assert sent_then(it) == []


def test_a_file_that_changed_is_never_mixed_with_parts_that_could_not_be_read(files: Path) -> None:
    with machine(files, 6, 0) as it:
        it.run(Troubles(die_in="in complete"))
        it.path = it.versions[-1]
        it.run(Troubles(journal=1.0, writes="parts", reads=True, die_in="told UploadResumed"))
        settle(it)


def test_a_part_never_goes_to_the_record_of_another_upload(tmp_path: Path) -> None:
    state, identity = tmp_path / "state", Identity(8, 0, 0, 0, 0)
    target = Target("https://api.example/v1", "", "/a.glb", "a.glb", "3d", "a/b", "")
    with Journal.open(state, pytest.fail) as journal:
        mine = journal.begin(target, Plan(8, 4), identity, "")
        journal.name(mine, "up0")
        settled(state, "up0", target.base_url)  # somebody waited for it, and heard that it failed
        other = journal.begin(replace(target, path="/b.glb"), Plan(8, 4), identity, "")
        journal.name(other, "up1")
        with suppress(JournalError):
            journal.store(mine, [(1, "of up0", None)])
        assert journal.parts(other) == {}


def sent_then(it: Machine) -> list[int]:
    """The parts that the next process sends, when all goes well."""
    it.run()
    assert it.world is not None
    return it.world.put_numbers
