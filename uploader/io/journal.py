"""The journal: what earlier runs left unfinished, in one SQLite file.

A part counts as sent only when its row is committed: WAL with synchronous=FULL, so that a commit outlives a
power cut. There is no presigned URL, signature, key or secret in it. Times are epoch seconds, sizes bytes.

It is opened for one run and closed at its end, so threads and forks share nothing; SQLite keeps apart
processes that use it at the same time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from uploader.core.plan import Plan
from uploader.io.source import Identity
from uploader.io.state import HeldError, check_ours, claim, make_directory

if TYPE_CHECKING:
    import sqlite3

FILE = "journal.sqlite3"
APPLICATION_ID = 0x53554A4C
VERSION = 1

# How long one process waits for another's commit before the journal counts as unusable (seconds). A commit
# takes milliseconds.
BUSY = 2.0

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE upload (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: who still writes to one that is gone must fail
    key TEXT NOT NULL,       -- what is uploaded where: two runs of the same have the same
    target TEXT NOT NULL,    -- the same in full, as JSON
    upload_id TEXT,          -- NULL until the service named it
    file_size INTEGER NOT NULL,
    part_size INTEGER NOT NULL,
    identity TEXT NOT NULL,  -- of the file: JSON
    digest TEXT NOT NULL,    -- of blocks sampled from it
    state TEXT NOT NULL,
    reason TEXT NOT NULL,    -- why the last run went no further, "" where it was killed
    pid INTEGER NOT NULL,    -- of the last run
    host TEXT NOT NULL,
    since REAL NOT NULL,
    created REAL NOT NULL,
    updated REAL NOT NULL
);
CREATE INDEX upload_by_key ON upload (key);
CREATE TABLE part (
    upload INTEGER NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    etag TEXT,
    md5 TEXT,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
_COLUMNS = (
    "id, target, upload_id, file_size, part_size, identity, digest, state, reason, pid, host, since,"
    " created, updated"
)


class JournalError(Exception):
    """The journal cannot be read or written; the message says why."""


class State(StrEnum):
    """What is known of an unfinished upload.

    OPEN: it can be gone on with. CHANGED: the file is another since. FAILED: it was refused for good. GONE:
    it was started over under another id, because the service or the store did not know it any more, or gave
    no links for it.
    """

    OPEN = "open"
    CHANGED = "changed"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Target:
    """What is uploaded where, and as what; `path` is the file's real one, `asset_options` JSON or ""."""

    base_url: str
    project_id: str
    path: str
    file_name: str
    kind: str
    content_type: str
    asset_options: str

    @property
    def key(self) -> str:
        """The same for the same target, and usable as a file name."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()

    @property
    def text(self) -> str:
        """As JSON, in ASCII: a file name may hold what no encoding takes."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Owner:
    """Which process was the last at an upload, and since when."""

    pid: int
    host: str
    since: float

    @classmethod
    def this(cls) -> Owner:
        """This process, from now on."""
        return cls(os.getpid(), socket.gethostname(), time.time())


@dataclass(frozen=True, slots=True)
class Record:
    """An unfinished upload. `row` is its key in the journal, `upload_id` None until the service named it."""

    row: int
    target: Target
    upload_id: str | None
    plan: Plan
    identity: Identity
    digest: str
    state: State
    reason: str
    owner: Owner
    created: float
    updated: float


class Journal:
    """Every method may raise JournalError."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, directory: Path, warn: Callable[[str], None]) -> Journal:
        """Open the journal in `directory`, made where it is not there.

        A file that is torn, of another schema or no journal at all is set aside, and `warn` told.

        Raises:
            StateError: the directory or file is a symbolic link, or another user's.
            JournalError: it cannot be used.
        """
        path = directory / FILE
        with _explained():
            make_directory(directory)
            with suppress(FileNotFoundError, _NotOursError):
                return cls(_connect(path))
            # One at a time: whoever finds a torn file sets that aside, and not the next one's new one.
            with claim(directory, "journal", wait=BUSY):
                try:
                    return cls(_connect(path))
                except FileNotFoundError:
                    pass
                except _NotOursError as error:
                    if path.stat().st_size:
                        aside = _set_aside(path)
                        warn(f"the journal {error}; it was set aside as {aside.name}, and a new one begun")
                _create(path)
                return cls(_connect(path))

    @classmethod
    def peek(cls, directory: Path) -> Journal:
        """Open the journal as it is, to read from it.

        Raises:
            StateError: as `open`.
            JournalError: it cannot be read.
        """
        try:
            with _explained():
                return cls(_connect(directory / FILE))
        except _NotOursError as error:
            raise JournalError(f"it {error}") from None

    def hurry(self) -> None:
        """Do not wait for another process's commit any more: something is wrong, and it was waited once."""
        with suppress(JournalError), _explained():
            self._connection.execute("PRAGMA busy_timeout = 0")

    # Reading

    def last(self, key: str) -> Record | None:
        """The last unfinished upload of a target that may be gone on with."""
        found = self._records("key = ? AND state NOT IN ('failed', 'gone') ORDER BY id DESC LIMIT 1", key)
        return found[0] if found else None

    def find(self, upload_id: str) -> list[Record]:
        """Those of that id: several where several services were used."""
        return self._records("upload_id = ? ORDER BY id", upload_id)

    def all(self) -> list[Record]:
        """Every upload the service named, the oldest first."""
        return self._records("upload_id IS NOT NULL ORDER BY id")

    def parts(self, row: int) -> dict[int, str | None]:
        """The part numbers that were acknowledged, with the hex MD5 of what was sent where it was taken."""
        with _explained():
            rows = self._connection.execute("SELECT number, md5 FROM part WHERE upload = ?", (row,))
            return dict(rows.fetchall())

    def stored(self, record: Record) -> tuple[int, int]:
        """How many parts were acknowledged, and their bytes."""
        with _explained():
            query = "SELECT count(*), coalesce(max(number), 0) FROM part WHERE upload = ?"
            count, last = self._connection.execute(query, (record.row,)).fetchone()
        return count, record.plan.size_of(count, with_last=last == record.plan.count)

    def _records(self, where: str, *values: str) -> list[Record]:
        with _explained():
            rows = self._connection.execute(f"SELECT {_COLUMNS} FROM upload WHERE {where}", values).fetchall()  # noqa: S608
            return [_record(*row) for row in rows]

    # Writing

    def begin(self, target: Target, plan: Plan, identity: Identity, digest: str) -> int:
        """Note that this process is about to create an upload; its row."""
        now = time.time()
        values = (
            target.key,
            target.text,
            plan.file_size,
            plan.part_size,
            json.dumps(asdict(identity)),
            digest,
            State.OPEN,
            *astuple(Owner.this()),
            now,
            now,
        )
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO upload (key, target, file_size, part_size, identity, digest, state, pid, host,"
                " since, created, updated, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
                values,
            )
        assert cursor.lastrowid is not None  # noqa: S101 - an insert has one
        return cursor.lastrowid

    def name(self, row: int, upload_id: str) -> None:
        """The service named it: it takes the place of what was left of the same target."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE upload SET upload_id = ?, updated = ? WHERE id = ?", (upload_id, time.time(), row)
            )
            connection.execute(
                "DELETE FROM upload WHERE id != ?1 AND state != 'gone'"
                " AND key = (SELECT key FROM upload WHERE id = ?1)",
                (row,),
            )

    def store(self, row: int, parts: Iterable[tuple[int, str | None, str | None]]) -> None:
        """Note acknowledged parts: number, ETag, MD5. When this returns, they are sent for good."""
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO part (upload, number, etag, md5) VALUES (?, ?, ?, ?)",
                [(row, *part) for part in parts],
            )
            connection.execute("UPDATE upload SET updated = ? WHERE id = ?", (time.time(), row))

    def mark(self, row: int, state: State, reason: str) -> None:
        """Note what became of it, and why it went no further."""
        reason = reason.encode(errors="backslashreplace").decode()
        with self._writing() as connection:
            connection.execute("UPDATE upload SET state = ?, reason = ? WHERE id = ?", (state, reason, row))

    def take(self, row: int) -> None:
        """This process is at it now."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE upload SET pid = ?, host = ?, since = ? WHERE id = ?", (*astuple(Owner.this()), row)
            )

    def go_on(self, row: int, identity: Identity) -> None:
        """It is gone on with; the file may have been touched, but is the same."""
        values = (json.dumps(asdict(identity)), State.OPEN, row)
        with self._writing() as connection:
            connection.execute("UPDATE upload SET identity = ?, state = ?, reason = '' WHERE id = ?", values)

    def remove(self, row: int) -> None:
        """Forget an upload."""
        with self._writing() as connection:
            connection.execute("DELETE FROM upload WHERE id = ?", (row,))

    def finish(self, key: str) -> None:
        """The target is uploaded: forget all that was left of it."""
        with self._writing() as connection:
            connection.execute("DELETE FROM upload WHERE key = ?", (key,))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed at the end or not at all."""
        with _explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file; all that was committed is in it."""
        with _explained():
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _NotOursError(Exception):
    """The file is torn, of another version, or something else."""


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever the system or SQLite says becomes a JournalError."""
    import sqlite3

    try:
        yield
    except HeldError:
        raise JournalError("another process does not let go of it") from None
    except OSError as error:
        raise JournalError(error.strerror or str(error)) from None
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise JournalError(str(error)) from None


def _record(
    row: int,
    target: str,
    upload_id: str | None,
    file_size: int,
    part_size: int,
    identity: str,
    digest: str,
    state: str,
    reason: str,
    pid: int,
    host: str,
    since: float,
    created: float,
    updated: float,
) -> Record:
    # A bit that flipped shall not become a part that counts as sent.
    try:
        where, which = Target(**json.loads(target)), Identity(**json.loads(identity))
        known = State(state)
    except (ValueError, TypeError):
        raise JournalError(_UNREADABLE) from None
    words = [digest, reason, host, *astuple(where), *([] if upload_id is None else [upload_id])]
    numbers, times = [pid, part_size, file_size, *astuple(which)], [since, created, updated]
    if not (
        all(type(word) is str for word in words)
        and all(type(number) is int for number in numbers)
        and all(type(when) is float and 0 <= when < _YEAR_3000 for when in times)
        and part_size > 0
        and 0 < file_size == which.size
    ):
        raise JournalError(_UNREADABLE)
    plan, owner = Plan(file_size, part_size), Owner(pid, host, since)
    return Record(row, where, upload_id, plan, which, digest, known, reason, owner, created, updated)


_UNREADABLE = f"it holds a record that makes no sense; if that stays so, remove {FILE}*"
_YEAR_3000 = 32_503_680_000


def _check_file(path: Path) -> None:
    """Make sure the journal's file is ours, and nobody else's to read.

    Raises:
        StateError: it is a symbolic link, or another user's.
        OSError: there is none, or it is no file.
    """
    status = check_ours(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is no file")
    if status.st_mode & 0o077:
        path.chmod(0o600)


def _create(path: Path) -> None:
    """Make an empty journal. It gets its name when it is whole: nobody ever sees a half of it."""
    import sqlite3

    new = path.with_name(f"{path.name}.new")
    for name in (new, *(Path(f"{it}{suffix}") for it in (new, path) for suffix in ("-wal", "-shm"))):
        # Of a process that was killed here, or of a journal that was removed without its log.
        name.unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # where that cannot be, the rollback journal serves
        connection.executescript(_SCHEMA)
    new.replace(path)


def _connect(path: Path) -> sqlite3.Connection:
    """An open journal.

    Raises:
        StateError: it is a symbolic link, or another user's.
        FileNotFoundError: there is none.
        _NotOursError: it is not one this version can use.
        sqlite3.Error: it cannot be used for another reason.
    """
    import sqlite3

    _check_file(path)
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        _check(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # without it macOS leaves a commit in the drive's cache
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error) and _is_torn(error):
            raise _NotOursError("is torn") from None
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != APPLICATION_ID:
        raise _NotOursError("is some other program's file")
    if version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        raise _NotOursError(f"is of {age} version of uploader")
    if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise _NotOursError("is torn")


def _is_torn(error: sqlite3.Error) -> bool:
    import sqlite3

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to be more exact
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _set_aside(path: Path) -> Path:
    """Rename a journal, and what belongs to it; the new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.name}.aside-{stamp}-{number}") for number in itertools.count(1))
    aside = next(name for name in names if not name.exists())
    for suffix in ("-wal", "-shm", ""):  # its log is never left without it
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside
