"""A world for a session to live in: a service and a store on a virtual clock, free to do anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from uploader.core.calls import Call
from uploader.core.events import (
    AbortPut,
    AbortPuts,
    Action,
    Ask,
    CallDone,
    CallFailed,
    Event,
    Happening,
    Listener,
    PartEnded,
    Phase,
    Put,
    Sampled,
    Tick,
)
from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.plan import Plan, make_plan
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.core.stragglers import CHANCES
from uploader.errors import ApiError, NotFoundError, UnreachableError, UploaderError
from uploader.models import Upload
from uploader.options import Concurrency, RetryPolicy

MiB = 1024 * 1024
ETAG = Response(200, {"etag": '"an-etag"'})
Signs = Literal["anew", "by second", "never"]
EXPIRED = Response(403, {}, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")


def error(code: str, status: int = 400, **headers: str) -> Response:
    """A store's error document."""
    return Response(status, headers, f"<Error><Code>{code}</Code></Error>".encode())


def make_session(
    parts: int = 4,
    concurrency: Concurrency = 2,
    policy: RetryPolicy | None = None,
    random: Callable[[], float] = lambda: 0.5,
    **options: object,
) -> UploadSession:
    policy = policy or RetryPolicy()
    plan = make_plan(parts * 5 * MiB, 5 * MiB)
    settings: dict[str, object] = {
        "file_name": "f.glb",
        "concurrency": concurrency,
        "policy": policy,
        "budget": RetryBudget(policy.budget, policy.budget_rate),
        "random": random,
    }
    return UploadSession(plan, **(settings | options))  # type: ignore[arg-type]


@dataclass
class Stored:
    """An upload as the service knows it."""

    id: str
    plan: Plan
    status: str = "pending"
    generation: int = 1
    parts: set[int] = field(default_factory=set)
    gone: bool = False

    def told(self, *, expires: str | None = None, entity_id: str | None = None) -> Upload:
        """As a GET tells it."""
        parts = [
            {
                "number": n,
                "url": f"https://s.example/{self.id}/{n}?X-Sig={self.generation}",
                "expires": expires,
            }
            for n in range(1, self.plan.count + 1)
        ]
        shown = parts if self.status == "pending" else None
        return Upload.model_validate(
            {"id": self.id, "status": self.status, "parts": shown, "entityId": entity_id}
        )


class World:
    """Carries out a session's actions, and holds what is promised of it.

    Held at every step: no part is in flight twice, no more than `concurrency` are, none is aborted twice, nor
    too often, complete is never asked with a part missing, it is never stuck, and never asks to be woken at a
    time that has passed.

    Args:
        session: who lives in it.
        signs: which links a GET hands out: new ones; those of this second of `now`, as AWS dates signatures;
            what was handed out before.
        uploads: what the service knows already, by id.
        listener: who hears every event; None puts them into `told`.
    """

    def __init__(
        self,
        session: UploadSession,
        *,
        signs: Signs = "anew",
        uploads: dict[str, Stored] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.session = session
        self.signs = signs
        self.now = 1000.0
        self.uploads = {} if uploads is None else uploads
        self.calls: list[Ask] = []
        self.puts: dict[int, tuple[str, Put]] = {}
        self.told: list[Event] = []
        self.listener = listener or self.told.append
        self.asked: list[Call] = []
        self.put_numbers: list[int] = []
        self.aborted: set[int] = set()
        self.aborts: Counter[int] = Counter()  # of single attempts, by part, until it is stored
        self.sent: dict[int, int] = {}
        self.looks = 0

    # The session's side

    def start(self) -> None:
        self._obey(self.session.start(self.now))

    def tell(self, happening: Happening) -> None:
        self._obey(self.session.handle(happening, self.now))
        wake = self.session.wake
        if not self.session.finished:
            assert self.calls or self.puts or wake is not None, (
                "stuck: nothing is under way, nothing is awaited"
            )
            assert wake is None or wake > self.now, "woken again at once, for ever"
            assert self.looks <= 2 * len(self.session._parts._history) + 2, (
                "asked for URLs without using them"
            )

    def sleep(self) -> None:
        """Let time pass until the session wants to be woken."""
        wake = self.session.wake
        assert wake is not None
        self.now = wake
        self.tell(Tick())

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Ask):
                self._asked(action)
            elif isinstance(action, Put):
                self._put(action)
            elif isinstance(action, AbortPuts):
                self.aborted |= self.puts.keys()
            elif isinstance(action, AbortPut):
                self._abort(action.attempt)
            else:
                self.listener(action)

    def _asked(self, ask: Ask) -> None:
        assert not self.calls, "two control calls at once"
        if ask.call is Call.COMPLETE:
            assert self.current.parts == set(range(1, self.session.plan.count + 1)), (
                "completed with a part missing"
            )
            assert not self.puts, "completed with a part in flight"
        self.looks = self.looks + 1 if ask.call is Call.GET and self.session.phase is Phase.SENDING else 0
        self.calls.append(ask)
        self.asked.append(ask.call)

    def _put(self, put: Put) -> None:
        numbers = [other.part.number for _, other in self.puts.values()]
        assert put.part.number not in numbers, "in flight twice"
        assert len(numbers) < self.session._window.size, "too many in flight"
        assert put.url.reveal().startswith(f"https://s.example/{self.session.upload_id}/{put.part.number}?")
        self.looks = 0
        self.puts[put.attempt] = (self.session.upload_id or "", put)
        self.put_numbers.append(put.part.number)

    def _abort(self, attempt: int) -> None:
        number = self.puts[attempt][1].part.number
        assert attempt not in self.aborted, "aborted twice"
        self.aborted.add(attempt)
        self.aborts[number] += 1
        assert self.aborts[number] <= CHANCES, "aborted too often"

    # The other side

    @property
    def current(self) -> Stored:
        return self.uploads[self.session.upload_id or ""]

    def keep(self, upload_id: str, number: int) -> Response:
        """The store takes in a part: what it answers."""
        self.uploads[upload_id].parts.add(number)
        return ETAG

    def md5_of(self, number: int) -> str | None:
        """The MD5 of a part's bytes, where it is taken."""
        return None

    def end_put(
        self,
        answer: Answer = ETAG,
        *,
        number: int | None = None,
        sent: int = 0,
        md5: str | None = None,
        seconds: float = 0.1,
    ) -> None:
        """One attempt ends: the first, or the one at part `number`."""
        attempt = self.attempt_at(number)
        upload_id, put = self.puts.pop(attempt)
        self.sent.pop(attempt, None)
        if attempt in self.aborted:
            answer = Broken(Break.RESET, "stopped")
        elif isinstance(answer, Response) and answer.status == 200 and "etag" in answer.headers:
            kept = self.keep(upload_id, put.part.number)
            answer = kept if answer is ETAG else answer
            sent = sent or put.part.length
            del self.aborts[put.part.number]
        self.tell(PartEnded(attempt, answer, sent, md5 or self.md5_of(put.part.number), seconds))

    def attempt_at(self, number: int | None) -> int:
        """The attempt at part `number`; None: the first of all."""
        return next(a for a, (_, put) in self.puts.items() if number in (None, put.part.number))

    def sample(self, more: Mapping[int, int] | None = None) -> None:
        """The engine looks at the attempts: of these parts so many bytes more were sent, of others none."""
        for number, size in (more or {}).items():
            attempt = self.attempt_at(number)
            self.sent[attempt] = self.sent.get(attempt, 0) + size
        self.tell(Sampled({attempt: self.sent.get(attempt, 0) for attempt in self.puts}))

    def end_call(self, *, expires: str | None = None, entity_id: str | None = None) -> None:
        """The control call under way goes through."""
        ask = self.calls.pop()
        if ask.call is Call.CREATE:
            upload = Stored(f"up{len(self.uploads)}", self.session.plan)
            self.uploads[upload.id] = upload
        else:
            upload = self.uploads[ask.upload_id or ""]
            if upload.gone:
                self.fail_call(NotFoundError("gone", status=404), ask)
                return
        if ask.call is Call.GET and self.signs == "anew":
            upload.generation += 1
        elif self.signs == "by second":
            upload.generation = int(self.now)
        if ask.call is Call.COMPLETE:
            upload.status = "validating"
        self.tell(CallDone(ask.call, upload.told(expires=expires, entity_id=entity_id), 5e8))

    def fail_call(self, why: UploaderError, ask: Ask | None = None) -> None:
        """The control call under way fails."""
        ask = ask or self.calls.pop()
        self.tell(CallFailed(ask.call, why))

    def lose(self) -> None:
        """The service does not know the upload any more, which is asked for until that is believed."""
        self.current.gone = True
        self.end_call()
        self.sleep()
        self.end_call()

    def finish(self) -> None:
        """From here on all goes well."""
        while not self.session.finished:
            if self.calls:
                if self.calls[0].call is Call.GET and self.current.status == "validating":
                    self.current.status = "validated"
                self.end_call()
            elif self.puts:
                self.end_put()
            else:
                self.sleep()


FAULTS: list[Answer] = [
    EXPIRED,
    error("ExpiredToken"),
    error("RequestTimeTooSkewed", 403),
    error("SignatureDoesNotMatch", 403),
    error("NoSuchUpload", 404),
    error("SlowDown", 503),
    error("InternalError", 500),
    error("BadDigest"),
    error("EntityTooLarge"),
    Response(429, {"retry-after": "3"}),
    Response(307),
    Response(200, {}, b"<html>Log in first</html>"),
    Broken(Break.RESET),
    Broken(Break.RESET),
    Broken(Break.STALL),
    Broken(Break.TLS),
    Broken(Break.LOST),
    Broken(Break.EXECUTOR),
    Broken(Break.SHORTAGE, "Too many open files"),
    Broken(Break.UNFIT, "its proxy"),
    Broken(Break.CHANGED, "f.glb was written to"),
    Broken(Break.UNREADABLE, "I/O error"),
]


class Chaos:
    """Picks what happens next, by a replayable source of randomness."""

    def __init__(self, world: World, random: Random, trouble: float) -> None:
        self.world = world
        self.random = random
        self.trouble = trouble

    def run(self, steps: int = 20_000) -> None:
        """Until the session is finished."""
        self.world.start()
        for _ in range(steps):
            if self.world.session.finished:
                return
            self.step()
        raise AssertionError("no end")

    def step(self) -> None:
        """Let one thing happen."""
        world, random = self.world, self.random
        choices = [self._call] * bool(world.calls) + [self._land] * min(3, len(world.puts))
        choices += [self._look] * bool(world.puts)
        if world.session.wake is not None:
            choices.append(self._wait)
        random.choice(choices)()

    def _wait(self) -> None:
        wake = self.world.session.wake
        assert wake is not None
        if self.random.random() < 0.3:
            self.world.now += self.random.random() * 100
            self.world.tell(Tick())
        else:
            self.world.now = max(self.world.now, wake)
            self.world.tell(Tick())

    def _look(self) -> None:
        world, random = self.world, self.random
        numbers = [put.part.number for _, put in world.puts.values()]
        world.now += random.choice([0.1, 0.1, 1.0, 10.0])
        world.sample({number: random.randrange(MiB) for number in numbers if random.random() < 0.7})

    def _land(self) -> None:
        number = self.random.choice([put.part.number for _, put in self.world.puts.values()])
        sent = self.random.randrange(5 * MiB)
        if self.random.random() < 0.3:
            self.world.aborted.discard(self.world.attempt_at(number))  # what ended it came before the abort
        if self.random.random() >= self.trouble:
            self.world.end_put(number=number, sent=5 * MiB)
        elif self.random.random() < 0.2:
            # Stored, and the answer lost.
            upload_id = next(u for u, put in self.world.puts.values() if put.part.number == number)
            self.world.keep(upload_id, number)
            self.world.end_put(Broken(Break.SILENCE), number=number, sent=5 * MiB)
        else:
            self.world.end_put(self.random.choice(FAULTS), number=number, sent=sent)

    def _call(self) -> None:
        world, random = self.world, self.random
        call = world.calls[0].call
        if call is not Call.CREATE:
            self._mishap()
        if random.random() < self.trouble:
            if call is Call.COMPLETE and random.random() < 0.5 and not world.current.gone:
                world.current.status = "validating"  # carried out, and the answer lost
            world.fail_call(random.choice([UnreachableError("no answer"), ApiError("refused", status=409)]))
            return
        expires = random.choice(
            [None, "1985-11-05T00:53:00Z", "1985-11-05T00:53:25Z", "1985-11-05T01:53:20Z"]
        )
        world.end_call(expires=expires, entity_id=random.choice([None, "asset_1"]))

    def _mishap(self) -> None:
        """What may befall an upload between two looks at it."""
        current, random = self.world.current, self.random
        if random.random() < self.trouble / 10:
            current.gone = True
        if current.status == "validating" and random.random() < 0.5:
            current.status = random.choice(
                ["validated", "imported", "failed", "complete", "brand-new-status"]
            )
        elif current.status in ("validated", "brand-new-status"):
            current.status = "imported"
