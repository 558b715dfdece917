"""Retry storms and outages, of many uploads on a virtual clock: see `tests.faults.simulation`.

With UPLOADER_STORM=10000 that many upload too, which takes minutes. All scenes are printed as a table by
`python -m tests.faults.simulation`.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from pydantic import SecretStr

from tests.faults.cases import EXACT, case
from tests.faults.peer import peer, reply, response
from tests.faults.simulation import (
    BUSY,
    LENGTH,
    OUTAGES,
    REFUSED,
    STORMS,
    Outage,
    Outcome,
    Scene,
    Server,
    Spoilt,
    simulate,
    storm,
    unhindered,
)
from uploader.core.retry import patience
from uploader.errors import PartError, UnreachableError
from uploader.io.api import Api
from uploader.io.connections import Connections, Scope
from uploader.io.transport import anywhere
from uploader.options import Credentials, RetryPolicy, Timeouts

FIFTY = Scene(uploaders=50)
ONE = Scene(uploaders=1, uploads=50)
# Of more, smaller uploads show as much.
MANY = [
    replace(FIFTY, uploaders=int(number), parts=24)
    for number in ("1000", *os.environ.get("UPLOADER_STORM", "").split())
]


def outlasted(name: str, scene: Scene) -> Outcome:
    """What is promised of every storm and outage.

    Every upload is done and every part was stored once. No more was asked than 1.2 times what the policy
    allows. From the end of an outage, or the beginning of a storm, it takes at most twice as long as all of
    it would take if nothing were in the way.
    """
    it = simulate((STORMS | OUTAGES)[name](scene))
    assert it.errors == []
    assert it.stored == scene.all_parts
    assert it.share <= 1.2
    over = scene.middle + LENGTH if name in OUTAGES else 0.0
    assert it.end - over <= 2 * unhindered((STORMS | OUTAGES)[name](scene))
    return it


@case(39, EXACT)
@pytest.mark.parametrize("name", STORMS)
def test_fifty_get_through_a_storm_of_503s_within_the_budget(name: str) -> None:
    outlasted(name, FIFTY)


@case(39, EXACT)
@pytest.mark.parametrize("scene", MANY, ids=lambda scene: str(scene.uploaders))
def test_so_do_thousands(scene: Scene) -> None:
    outlasted("storm", scene)


@case(39, EXACT)
@pytest.mark.parametrize("name", sorted(OUTAGES.keys() - {"refused", "500", "503, Retry-After"}))
def test_an_outage_of_ten_minutes_is_sat_out_by_fifty(name: str) -> None:
    """Those left out cost the most time, and are printed by the command."""
    outlasted(name, FIFTY)


@case(39, EXACT)
@pytest.mark.parametrize("parts", [1, 2])
def test_so_is_one_with_hardly_a_part_left_and_much_room_in_flight(parts: int) -> None:
    outlasted("500", Scene(uploaders=20, parts=parts, concurrency=64, seconds=60.0))


@case(39, EXACT)
def test_an_outage_of_the_store_does_not_become_one_of_the_service() -> None:
    """Links that broke are asked for anew, less and less often."""
    it = outlasted("refused", FIFTY)
    assert it.requests["get"] <= FIFTY.all_parts


@case(39, EXACT)
@pytest.mark.parametrize("scene", MANY, ids=lambda scene: str(scene.uploaders))
def test_and_by_thousands(scene: Scene) -> None:
    outlasted("silent", scene)


@case(39, EXACT)
@pytest.mark.parametrize(
    "store", [storm(ONE).store, partial(Outage, ONE.middle, REFUSED, length=150.0)], ids=["storm", "outage"]
)
def test_the_uploads_of_one_uploader_keep_to_the_one_budget_they_share(store: Callable[[], Server]) -> None:
    it = simulate(replace(ONE, store=store))
    assert it.errors == []
    assert it.stored == ONE.all_parts
    assert it.share <= 1.2


@case(39, EXACT)
def test_the_end_of_an_outage_is_no_stampede() -> None:
    """Timeouts strike at the same moment everywhere, and would go on doing so."""
    it = outlasted("silent", FIFTY)
    assert it.peak(since=FIFTY.middle + LENGTH) <= 2.5 * simulate(FIFTY).peak()


@case(39, "PartError")
@pytest.mark.parametrize("parts", [24, 800])
def test_a_part_that_alone_keeps_failing_ends_in_an_error_within_a_quarter_of_an_hour(parts: int) -> None:
    """Whether the others are stored meanwhile, or were long ago."""
    scene = Scene(uploaders=4, parts=parts, store=partial(Spoilt, 7))
    it = simulate(scene)
    assert [type(error) for error in it.errors] == [PartError] * 4
    assert all("part 7 of" in str(error) for error in it.errors)
    assert it.end <= 15 * 60


@case(39, "UnreachableError")
def test_a_run_that_begins_in_an_outage_is_given_up_within_half_a_minute() -> None:
    down = partial(Outage, 0.0, BUSY)
    it = simulate(Scene(uploaders=4, store=down, api=down))
    assert [type(error) for error in it.errors] == [UnreachableError] * 4
    assert it.requests["put"] == 0
    assert it.end <= 30


def test_the_services_calls_are_repeated_in_earnest_as_they_are_here() -> None:
    """The first of all so often and no more, the others until the patience is spent too, complete never."""
    policy = RetryPolicy(attempts=3, first_attempts=2, base=0.1, cap=0.2)
    credentials = Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s"))
    connections = Connections(ssl.create_default_context, anywhere)
    with peer("http://127.0.0.1:9", {}, otherwise=reply(response(503))) as front, closing(connections):
        api = Api(
            *(f"{front.origin}/v1", credentials, None, connections),
            policy=policy,
            timeouts=Timeouts(),
            random=lambda: 0.0,
        )
        with pytest.raises(UnreachableError):
            api.get("up", Scope(), lambda _: None, first=True)
        assert front.seen["get"] == 2
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            api.get("up", Scope(), lambda _: None)
        assert time.monotonic() - began >= patience(policy)
        assert front.seen["get"] >= 2 + 3
        with pytest.raises(UnreachableError):
            api.complete("up", Scope())
        assert front.seen["complete"] == 1
