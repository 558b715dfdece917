"""Any order of events, faults and delays: done with every part stored, or a typed error."""

from __future__ import annotations

from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.world import Chaos, MiB, Signs, World, make_session
from uploader.core.events import (
    AbortPuts,
    Finished,
    PartStored,
    Phase,
    PhaseChanged,
    StatusSeen,
    Tick,
    UploadCreated,
)
from uploader.errors import UploaderError, UploadFailedError, UploadTimeoutError
from uploader.models import UploadResult
from uploader.options import Concurrency, RetryPolicy

DONE = {"validated", "imported", "complete"}


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32),
    parts=st.integers(1, 30),
    concurrency=st.one_of(st.just("auto"), st.integers(1, 9)),
    trouble=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.7, 1.0]),
    signs=st.sampled_from(get_args(Signs)),
    timeout=st.sampled_from([None, None, 5.0, 300.0]),
    wait_for=st.sampled_from(["validated", "imported", None]),
)
def test_it_ends_in_all_parts_stored_or_a_typed_error(
    seed: int,
    parts: int,
    concurrency: Concurrency,
    trouble: float,
    signs: Signs,
    timeout: float | None,
    wait_for: str,
) -> None:
    random = Random(seed)
    session = make_session(
        parts,
        concurrency,
        RetryPolicy(attempts=6),
        random.random,
        timeout=timeout,
        wait_for=wait_for,
    )
    world = World(session, signs=signs)
    Chaos(world, random, trouble).run()
    if session.error is not None:
        fate = isinstance(session.error, UploadFailedError | UploadTimeoutError)
        assert fate or trouble > 0, "an error without any trouble"
        assert isinstance(session.error, UploaderError)
        assert str(session.error)
        assert session.phase is Phase.FAILED
        return
    assert session.result is not None
    assert world.current.parts == set(range(1, parts + 1)), "done, with a part missing"
    assert session.result.upload_id == session.upload_id
    assert session.result.status in (DONE if wait_for else {*DONE, "validating", "brand-new-status"})
    assert session.result.retries >= len(world.put_numbers) - parts * (1 + session.result.recreated)
    assert sum(isinstance(event, Finished) for event in world.told) == 1


@pytest.mark.parametrize("parts", [1, 3, 50])
def test_without_trouble_every_part_is_sent_once_in_order(parts: int) -> None:
    world = World(make_session(parts, 3))
    world.start()
    world.now += 7.0
    world.finish()
    assert world.put_numbers == list(range(1, parts + 1))
    assert world.session.result == UploadResult(
        upload_id="up0",
        status="validated",
        entity_id=None,
        file_name="f.glb",
        file_size=parts * 5 * MiB,
        parts=parts,
        bytes_sent=parts * 5 * MiB,
        bytes_resumed=0,
        retries=0,
        url_refreshes=0,
        recreated=False,
        elapsed_seconds=world.now - 1000.0,
    )


def test_observers_hear_the_whole_story_in_order() -> None:
    world = World(make_session(2, 1))
    world.start()
    world.finish()
    first, second = world.session.plan
    assert world.session.result is not None
    assert world.told == [
        PhaseChanged(Phase.CREATING),
        UploadCreated("up0", 10 * MiB, 2, 5 * MiB),
        PhaseChanged(Phase.SENDING),
        PartStored(first, "an-etag", None, 0.1),
        PartStored(second, "an-etag", None, 0.1),
        PhaseChanged(Phase.COMPLETING),
        PhaseChanged(Phase.VALIDATING),
        StatusSeen("validating"),
        StatusSeen("validated"),
        PhaseChanged(Phase.DONE),
        Finished(world.session.result),
    ]


def test_a_finished_session_says_nothing_more() -> None:
    world = World(make_session(1))
    world.start()
    world.finish()
    assert world.session.handle(Tick(), world.now + 1e6) == []
    assert AbortPuts() not in world.told
