"""Random schedules of faults: what they are, and how hypothesis makes them up.

A schedule is printed as Python. To run one again, fifty times:

    python -m tests.faults.ordeal --times 50 "Schedule(size=5242881, lives=(Life(…),))"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.faults.mischief import ENDS, MISCHIEF, Fault, Terse

T = TypeVar("T")

MiB = 1024 * 1024
PART = 5 * MiB

# What can happen to the file. The first ones leave other bytes in it.
REWRITES = (
    "rewrite",
    "patch",
    "patch and put its time back",
    "grow",
    "shrink",
    "replace",
)
TOUCHES = ("touch", "chmod", "replace by a copy")
CHANGES = (*REWRITES, *TOUCHES, "remove")
# What can happen to the service.
RESTARTS = ("restart", "restart with other keys", "outage")
# What can happen to the journal.
JOURNALS = ("tear the journal", "lose the journal")
# How a run can be ended.
STOPS = ("cancel", "Ctrl-C")


@dataclass(frozen=True, repr=False)
class Blow(Terse):
    """What happens `delay` seconds after the event number `at` of a run, from 0.

    See above; "rival", for somebody else wants to upload the same; or "kill".
    """

    what: str
    at: int
    delay: float = 0.0


@dataclass(frozen=True, repr=False)
class Life(Terse):
    """One run, and what it has to bear.

    Attributes:
        before: what happens before it: to the file, to the service, to the journal.
        faults: of the peer.
        service: of the service, in its own language.
        blows: what happens meanwhile.
        kill: when it is killed, in a process of its own; then there are no blows.
        call: "upload", or "resume" of what is left of an earlier one, if anything is.
        the others: as for `Uploader.upload`.
    """

    before: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    service: tuple[str, ...] = ()
    blows: tuple[Blow, ...] = ()
    kill: Blow | None = None
    call: str = "upload"
    concurrency: int = 4
    part_size: int | None = PART
    wait_for: str | None = "validated"
    verify: str = "md5"
    verify_source: str = "sampled"
    resume: bool = True
    timeout: float | None = None

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `Uploader.upload`."""
        names = ("concurrency", "part_size", "wait_for", "verify", "verify_source", "resume", "timeout")
        return {"kind": "model"} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, repr=False)
class Schedule(Terse):
    """One file, and all that happens until it is uploaded.

    Attributes:
        size: bytes of the file at first.
        front: what the uploader talks to: the "service", or a peer before it that speaks "http" or "https",
            or has buffers as "narrow" as on a real link.
        resign: whether the service hands out fresh links.
        lives: the runs, before the last one, which has nothing to bear.
    """

    size: int
    lives: tuple[Life, ...]
    front: str = "http"
    resign: bool = True


TARGETS: tuple[str | int, ...] = (*["put"] * 3, 1, 2, "create", *["get"] * 2, *["complete"] * 2)
SIZES = (*[PART + 1] * 3, *[2 * PART + 3] * 2, 2 * PART, 3 * PART + 7, PART, 70_000, 70_000, 1)
SKIPS = st.sampled_from((*[0] * 8, 1, 2, 4))
DELAYS = st.sampled_from((0.0, 0.0, 0.0, 0.004, 0.015, 0.05))
MOMENTS = st.integers(0, 14)


def _some(draw: st.DrawFn, items: st.SearchStrategy[T], counts: tuple[int, ...]) -> tuple[T, ...]:
    return tuple(draw(items) for _ in range(draw(st.sampled_from(counts))))


@st.composite
def peer_faults(draw: st.DrawFn) -> Fault:
    target: str | int = draw(st.sampled_from(TARGETS))
    kind = target if isinstance(target, str) else "put"
    return Fault(
        on=target,
        does=draw(st.sampled_from(MISCHIEF[kind])),
        at=draw(st.sampled_from((None, None, 0.0, 0.01, 0.3, 0.9))) if kind == "put" else None,
        then=draw(st.sampled_from(ENDS)),
        skip=draw(SKIPS),
        times=draw(st.sampled_from((1, 1, 1, 2, 3, 8))),
    )


@st.composite
def service_faults(draw: st.DrawFn) -> str:
    target = draw(st.sampled_from(("part=*", "part=1", "part=2", "on=create", "on=get", "on=complete")))
    of_parts = target.startswith("part")
    kinds = ["status", "drop", "stall", "html", "redirect", "vanish", *["expire", "etag"] * of_parts]
    kind = draw(st.sampled_from(kinds))
    items = [target]
    if kind == "status":
        # The service alone says 400 to `complete`: that is how it is known that it was asked for too early.
        kind = draw(st.sampled_from(("403", "404", "409", "429", "500", "502", "503", "200")))
    if kind in ("drop", "stall"):
        places = ("headers", "answer", *("0%", "30%", "99%", "100%") * of_parts)
        items.append(f"at={draw(st.sampled_from(places))}")
    elif kind != "etag":
        items += draw(st.sampled_from(([], [], ["early"], ["after=0.05"], ["after=1000000000"])))
    items.append(f"skip={draw(SKIPS)}")
    items.append(f"times={draw(st.sampled_from((1, 1, 1, 2, 'inf')))}")
    return ":".join([kind, *items])


@st.composite
def lives(draw: st.DrawFn, front: str) -> Life:
    whats = st.sampled_from((*STOPS * 3, *CHANGES, *RESTARTS, "rival"))
    return Life(
        before=_some(draw, st.sampled_from((*CHANGES, *RESTARTS, *JOURNALS)), (0, 0, 1)),
        faults=() if front == "service" else _some(draw, peer_faults(), (0, 1, 2, 3, 4, 5)),
        service=_some(draw, service_faults(), (0, 1, 2, 3) if front == "service" else (0, 0, 1)),
        blows=_some(draw, st.builds(Blow, whats, MOMENTS, DELAYS), (0, 0, 0, 1, 1, 2)),
        kill=draw(st.sampled_from([None] * 4 + [Blow("kill", draw(MOMENTS), draw(DELAYS))])),
        call=draw(st.sampled_from((*["upload"] * 6, "resume"))),
        concurrency=draw(st.sampled_from((4, 4, 2, 1))),
        part_size=draw(st.sampled_from((*[PART] * 6, None, 6 * MiB))),
        wait_for=draw(st.sampled_from(("validated", "validated", "imported", None))),
        verify=draw(st.sampled_from(("md5", "md5", "md5", "none"))),
        verify_source=draw(st.sampled_from(("sampled", "sampled", "full"))),
        resume=draw(st.sampled_from((*[True] * 8, False))),
        timeout=draw(st.sampled_from((*[None] * 12, 0.05, 0.3))),
    )


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    front = draw(st.sampled_from(("http", "http", "http", "service", "service", "https", "narrow")))
    return Schedule(
        size=draw(st.sampled_from(SIZES)),
        lives=_some(draw, lives(front), (1, 2, 3)),
        front=front,
        resign=draw(st.sampled_from((True, True, False))),
    )
