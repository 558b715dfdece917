"""A machine on which uploads run, and are killed at any moment: what was written and the service stay."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.session.world import Chaos, Signs, Stored, World
from uploader.core.calls import Call
from uploader.core.events import (
    Ask,
    Event,
    Failed,
    Finished,
    Happening,
    JournalKept,
    JournalTrouble,
    PartStored,
    Put,
    Recreating,
    UploadCreated,
    UploadResumed,
)
from uploader.core.outcomes import Response
from uploader.core.plan import Plan
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.io.journal import FILE, Journal, State, Target
from uploader.io.keeper import Keeper
from uploader.io.limits import Limits
from uploader.io.source import Source
from uploader.options import RetryPolicy, TransferOptions
from uploader.resuming import take_up

# So large that the file can change where the source takes no sample of it.
PART = 160 * 1024


class Crash(BaseException):
    """SIGKILL. What the disk held was taken down before it was raised: cleaning up changes nothing."""


@dataclass(frozen=True)
class Troubles:
    """What may befall a run.

    Attributes:
        world: how likely the network, the store and the service fail, at each step.
        die_at: how many moments the process lives; None: to its own end.
        die_in: the moment in which it dies, by the beginning of its name.
        journal: how likely each statement to the journal fails.
        failures: how many fail at the most; None: any number.
        writes: which of the journal's methods may fail, by the beginning of their names.
        reads: whether reading from it may fail too.
    """

    world: float = 0.0
    die_at: int | None = None
    die_in: str | None = None
    journal: float = 0.0
    failures: int | None = None
    writes: str = ""
    reads: bool = False


CALM = Troubles()


class Line:
    """A connection to SQLite of which every statement is told to `hook` before and after."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.hook: Callable[[str], None] = lambda _: None

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    def execute(self, sql: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        return self._told(sql, lambda: self.connection.execute(sql, tuple(values)))

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self._told(sql, lambda: self.connection.executemany(sql, rows))

    def _told(self, sql: str, work: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        verb = sql.split(None, 1)[0]
        self.hook(f"before {verb}")
        cursor = work()
        self.hook(f"after {verb}")
        return cursor

    def close(self) -> None:
        self.connection.close()


class WatchedJournal(Journal):
    """A journal of which every statement is told, with the method it is part of."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.line = Line(connection)
        self.doing = ""
        super().__init__(self.line)  # type: ignore[arg-type]

    def watch(self, hook: Callable[[str, str], None]) -> None:
        self.line.hook = lambda said: hook(self.doing, said)


def _watched(name: str) -> Callable[..., Any]:
    def method(self: WatchedJournal, *args: Any) -> Any:
        self.doing = " ".join([name, *(arg for arg in args if isinstance(arg, State))])
        return getattr(Journal, name)(self, *args)

    return method


for _name, _member in vars(Journal).items():
    if callable(_member) and not _name.startswith("_") and _name != "close":
        setattr(WatchedJournal, _name, _watched(_name))


@cache
def part_md5s(path: Path) -> dict[int, str]:
    """By part number."""
    data = path.read_bytes()
    spans = {part.number: data[part.offset : part.offset + part.length] for part in Plan(len(data), PART)}
    return {number: hashlib.md5(span).hexdigest() for number, span in spans.items()}


@dataclass
class Holding:
    """What the store has of an upload, by part number: its ETags, and the MD5 of the last bytes it got."""

    etags: dict[int, set[str]] = field(default_factory=dict)
    md5s: dict[int, str] = field(default_factory=dict)


Kept = dict[str, dict[int, tuple[str, str | None]]]


@dataclass
class Machine:
    """Uploads one file again and again, each time by a new process, as `Uploader.upload` does.

    Held at every death and every end: the journal has no part that the store has not, of the very same upload
    with the very same ETag; and what observers were told is kept, is what the next process goes on with.

    Attributes:
        versions: the file, and what it may be rewritten as: of one size.
        root: where the states of the disk are, a new one after each death.
        random: what all chance is drawn from.
        moments: what the processes that died were about to do.
        left: the uploads that were started over, as observers were told when it was written.
        promise: the upload that a later run was said to be able to go on with.
    """

    versions: Sequence[Path]
    root: Path
    random: Random
    options: TransferOptions = field(default_factory=TransferOptions)
    signs: Signs = "anew"
    uploads: dict[str, Stored] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    moments: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    left: set[str] = field(default_factory=set)
    promise: str | None = None

    def __post_init__(self) -> None:
        self.path = self.versions[0]
        self.plan = Plan(self.path.stat().st_size, PART)
        self._power_on(CALM)

    def _power_on(self, troubles: Troubles) -> None:
        self.troubles = troubles
        self.told: list[Event] = []
        self.lived = 0
        self.dead = False
        self.journal_failed = 0
        self.journal_unread = False
        self.world: CrashWorld | None = None

    @property
    def directory(self) -> Path:
        """The state directory, on the disk as it is now."""
        return self.root / str(self.deaths)

    @property
    def target(self) -> Target:
        return Target("https://api.example/v1", "", "/home/me/f.glb", "f.glb", "3d", "a/b", "")

    @property
    def md5s(self) -> dict[int, str]:
        """The MD5s of the file's parts, as it is now."""
        return part_md5s(self.path)

    def rewrite(self) -> None:
        """The file is another version of itself."""
        self.path = self.random.choice([path for path in self.versions if path != self.path])

    # One process

    def run(
        self, troubles: Troubles = CALM, act: Callable[[World], None] | None = None
    ) -> UploadSession | None:
        """How its session ended; None where the process died before.

        Args:
            troubles: what may befall it.
            act: what happens first, where that is not left to chance.
        """
        self._power_on(troubles)
        self.act = act
        journal = WatchedJournal.open(self.directory, self._set_aside)
        assert isinstance(journal, WatchedJournal)
        journal.watch(self._statement)  # from here on: opening it is not what this is about
        session = None
        try:
            session = self._upload(Keeper(journal, self.target, self._hear))
        except Crash:
            assert self.dead
        finally:
            self.dead = True  # its last statements are of no concern
            journal.close()
        self._check(session)
        return session

    def _upload(self, keeper: Keeper) -> UploadSession:
        source = Source.find(self.path)
        plan, resumed = take_up(keeper, source, self.plan, self.options, Limits())
        if resumed is not None and not self.journal_unread:
            assert resumed.stored == self.journaled()[resumed.upload_id].keys(), "not what the journal has"
        policy = RetryPolicy(attempts=6)
        session = UploadSession(
            plan,
            file_name=self.target.file_name,
            concurrency=self.options.concurrency,
            policy=policy,
            budget=RetryBudget(policy.budget, policy.budget_rate),
            random=self.random.random,
            wait_for=self.options.wait_for,
            resumed=resumed,
        )
        self.world = CrashWorld(session, self, keeper)
        if self.troubles.world:
            CrashChaos(self.world, self.random, self.troubles.world).run()
        else:
            self.world.start()
            if self.act:
                self.act(self.world)
            self.world.finish()
        return session

    def moment(self, what: str) -> None:
        """Something is about to happen, unless the process dies now."""
        self.lived += 1
        due = self.troubles.die_at is not None and self.lived > self.troubles.die_at
        due = due or (self.troubles.die_in is not None and what.startswith(self.troubles.die_in))
        if self.dead or not due:
            return
        self.dead = True
        self.moments[what] += 1
        before = self.directory
        self.deaths += 1
        self.directory.mkdir(mode=0o700)
        for name in (FILE, f"{FILE}-wal"):  # what the system was given of them outlives the process
            if (before / name).exists():
                shutil.copy(before / name, self.directory / name)
        if self.world is not None:
            self.world.lose()
        raise Crash(what)

    def _statement(self, doing: str, said: str) -> None:
        if self.dead:
            return
        self.moment(f"{doing}: {said}")
        reading = said.endswith("SELECT")
        # A BEGIN that fails has not begun.
        if said in ("after BEGIN", "before ROLLBACK", "after ROLLBACK"):
            return
        if not doing.startswith(self.troubles.writes):
            return
        if (reading and not self.troubles.reads) or self.journal_failed == self.troubles.failures:
            return
        if self.random.random() < self.troubles.journal:
            self.journal_failed += 1
            self.journal_unread = self.journal_unread or reading
            raise sqlite3.OperationalError("database or disk is full")

    def _hear(self, event: Event) -> None:
        self.told.append(event)
        if self.world is not None:
            self.world.check_kept(event)
        self.moment(f"told {describe(event)}")

    def _set_aside(self, said: str) -> None:
        raise AssertionError(f"a sound journal was set aside: {said}")

    # What must hold

    def journaled(self) -> Kept:
        """What is on the disk: ETag and MD5 by part number, by upload id ("" before it has one)."""
        kept: Kept = {}
        if not (self.directory / FILE).exists():
            return kept
        query = "SELECT upload_id, number, etag, md5 FROM upload LEFT JOIN part ON upload.id = part.upload"
        with closing(sqlite3.connect(self.directory / FILE)) as connection:
            for upload_id, number, etag, md5 in connection.execute(query):
                parts = kept.setdefault(upload_id or "", {})
                if number is not None:
                    parts[number] = (etag, md5)
        return kept

    def next_upload(self) -> str | None:
        """What the next process would go on with."""
        with Journal.open(self.directory, self._set_aside) as journal:
            record = journal.last(self.target.key)
        return record.upload_id if record else None

    def _check(self, session: UploadSession | None) -> None:
        kept = self.journaled()
        self._check_parts(kept)
        self._check_promise(session)
        troubles = sum(isinstance(event, JournalTrouble) for event in self.told)
        if session is None and not troubles:
            self.journal_failed = 0  # it died before it could tell
        assert troubles == (self.journal_failed > 0), (
            f"told {troubles} times of {self.journal_failed} failures"
        )
        if session is not None and session.result is not None:
            self._check_done(session.result.upload_id)
            assert not kept or self.journal_failed, "something is left in the journal of what is done"

    def _check_parts(self, kept: Kept) -> None:
        assert not kept.get(""), "parts of an upload that has no name"
        for upload_id, parts in kept.items():
            for number, (etag, md5) in parts.items():
                assert number in self.uploads[upload_id].parts, f"{upload_id} never had part {number}"
                holding = self.holdings[upload_id]
                assert etag in holding.etags[number], f"part {number} is not of {upload_id}: {etag}"
                assert md5 in (None, holding.md5s[number]), f"part {number} is of other bytes than was noted"

    def _check_promise(self, session: UploadSession | None) -> None:
        for event in self.told:
            if isinstance(event, JournalKept):
                self.promise = event.upload_id
            elif isinstance(event, Recreating | Finished):
                self.promise = None
        error = session.error if session else None
        if error is not None:
            self.promise = (
                error.upload_id if error.resumable and not self._is_there(error.upload_id) else None
            )
        elif session is None and self.world and isinstance(self.world.last, Recreating | Finished | Failed):
            self.promise = None  # it died while that was written
        if self.journal_unread or not self.options.resume:
            self.promise = None  # it could not know, or was told not to
        assert self.promise in (None, self.next_upload()), "the next process goes on with something else"

    def _is_there(self, upload_id: str | None) -> bool:
        """Whether all of an upload is there, so that who knows its id can wait for it."""
        return len(self.uploads[upload_id or ""].parts) == self.plan.count

    def _check_done(self, upload_id: str) -> None:
        """A success is one: all of the file as it is, in the upload that was completed."""
        assert self.uploads[upload_id].parts == set(range(1, self.plan.count + 1)), "done with a part missing"
        assert self.uploads[upload_id].status != "pending", "done, and never completed"
        assert self.holdings[upload_id].md5s == self.md5s, "done with other bytes than the file's"


def describe(event: Event) -> str:
    return f"{type(event).__name__} {getattr(event, 'phase', '')}".strip()


class CrashWorld(World):
    """A world that may end at any moment, and whose store knows what it holds."""

    def __init__(self, session: UploadSession, machine: Machine, keeper: Keeper) -> None:
        super().__init__(session, signs=machine.signs, uploads=machine.uploads, listener=self._event)
        self.machine = machine
        self.keeper = keeper
        self.last: Event | None = None
        self._failed = 0
        self._stored: set[int] = set()

    def tell(self, happening: Happening) -> None:
        self.machine.moment(f"before {type(happening).__name__}")
        super().tell(happening)

    def _event(self, event: Event) -> None:
        self.machine.moment(f"before {describe(event)}")
        self.last, self._failed = event, self.machine.journal_failed
        self.told.append(event)
        if isinstance(event, PartStored):
            self._stored.add(event.part.number)
        elif isinstance(event, UploadCreated | UploadResumed):
            self._stored.clear()
        self.keeper(event)

    def check_kept(self, event: Event) -> None:
        """A part counts as sent only when its row is committed, and no observer hears of it before.

        Nor is one forgotten that could not be written when it was stored.
        """
        if self._failed < self.machine.journal_failed:
            return
        if isinstance(event, Recreating):
            self.machine.left.add(event.old_upload_id)
        elif isinstance(event, PartStored):
            there = self.machine.journaled().get(self.session.upload_id or "", {})
            assert self._stored <= there.keys(), "told of a part that is not on the disk"

    def _put(self, put: Put) -> None:
        there = self.machine.journaled().get(self.session.upload_id or "", {})
        unread = self.machine.journal_unread
        assert unread or put.part.number not in there, "sent again, though the journal has it"
        super()._put(put)
        self.machine.moment("in a put")

    def _asked(self, ask: Ask) -> None:
        assert ask.call is Call.CREATE or ask.upload_id not in self.machine.left, "it was left for good"
        super()._asked(ask)
        self.machine.moment(f"in {ask.call}, {self.session.phase}")

    def keep(self, upload_id: str, number: int) -> Response:
        super().keep(upload_id, number)
        holding = self.machine.holdings.setdefault(upload_id, Holding())
        etag = f"{upload_id}-{number}-{self.machine.random.randrange(10**9)}"
        holding.etags.setdefault(number, set()).add(etag)
        holding.md5s[number] = self.machine.md5s[number]
        return Response(200, {"etag": f'"{etag}"'})

    def md5_of(self, number: int) -> str | None:
        return self.machine.md5s[number] if self.machine.options.verify == "md5" else None

    def lose(self) -> None:
        """The process is dead: what it had under way arrived, or did not."""
        random = self.machine.random
        for upload_id, put in self.puts.values():
            if random.random() < 0.5:
                self.keep(upload_id, put.part.number)
        for ask in self.calls:
            if ask.call is Call.CREATE and random.random() < 0.5:
                self.uploads[f"up{len(self.uploads)}"] = Stored(f"up{len(self.uploads)}", self.session.plan)
            elif ask.call is Call.COMPLETE and random.random() < 0.5 and not self.current.gone:
                self.current.status = "validating"

    def finish(self) -> None:
        """From here on all goes well, but for what is decided already."""
        while not self.session.finished:
            if self.calls:
                if self.calls[0].call is Call.GET and self.current.status not in ("pending", "failed"):
                    self.current.status = "imported"
                self.end_call(entity_id="asset_1")
            elif self.puts:
                self.end_put(
                    number=self.machine.random.choice([put.part.number for _, put in self.puts.values()])
                )
            else:
                self.sleep()


class CrashChaos(Chaos):
    """A service, too, that gives up what is pending, or is told by somebody else that it is complete."""

    def _mishap(self) -> None:
        super()._mishap()
        if self.world.current.status == "pending" and self.random.random() < self.trouble / 10:
            self.world.current.status = self.random.choice(["failed", "validating", "imported"])
