"""The fault language: what parses, what does not, and which fault fires when."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.local.faults import Fault, FaultPlan, Place, Target
from uploader.local.faultspec import parse


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("503:part=3", {"kind": "status", "status": 503, "target": "part", "part": 3}),
        ("503:part=*:times=inf", {"kind": "status", "status": 503, "target": "part", "times": math.inf}),
        ("400:part=1:code=RequestTimeout:message=", {"status": 400, "code": "RequestTimeout", "message": ""}),
        ("429:on=get:times=3:skip=2:after=soon", {"times": 3, "skip": 2, "after": "soon", "target": "get"}),
        ("drop:part=5:at=50%", {"kind": "drop", "part": 5, "at": Place("percent", 50)}),
        ("drop:part=5", {"at": Place("headers")}),
        ("drop:on=complete:at=answer", {"target": "complete", "at": Place("answer")}),
        ("stall:part=1:at=1000", {"kind": "stall", "at": Place("bytes", 1000)}),
        ("expire:part=7:early", {"kind": "expire", "early": True}),
        ("etag:part=2", {"kind": "etag"}),
        ("html:on=create", {"kind": "html", "status": 403}),
        ("html:part=1:status=502", {"kind": "html", "status": 502}),
        (
            "redirect:part=1:to=http%3A//x.test/y",
            {"kind": "redirect", "status": 307, "to": "http://x.test/y"},
        ),
        ("vanish:on=complete", {"kind": "vanish", "target": "complete"}),
    ],
)
def test_a_spec_says_what_shall_go_wrong(spec: str, fault: dict[str, object]) -> None:
    parsed = parse(spec)
    assert {name: getattr(parsed, name) for name in fault} == fault
    assert parsed.spec == spec


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "no kind of fault"),
        ("status:part=1", "no kind of fault"),
        ("199:part=1", "from 200 to 599"),
        ("600:part=1", "from 200 to 599"),
        ("٥٠٣:part=1", "from 200 to 599"),
        ("503", "name one target"),
        ("503:part=1:on=get", "name one target"),
        ("503:part=0", "part number"),
        ("503:part=10001", "part number"),
        ("503:part=x", "part number"),
        ("503:part=1:part=2", "twice"),
        ("503:on=delete", "create, get or complete"),
        ("503:part=1:times=0", "a count"),
        ("503:part=1:skip=-1", "a count"),
        ("503:part=1:at=50%", "takes no 'at'"),
        ("503:part=1:late", "neither key=value nor a flag"),
        ("503:part=1:early=yes", "early takes no value"),
        ("503:part=1:after=a%0d%0ab", "cannot be sent as a header"),
        ("redirect:part=1:to=", "cannot be sent as a header"),
        ("drop:part=1:early", "takes no 'early'"),
        ("drop:part=1:at=101%", "a percentage"),
        ("drop:part=1:at=end", "a place"),
        ("drop:on=create:at=50%", "at=headers and at=answer only"),
        ("stall:on=get:at=5", "at=headers and at=answer only"),
        ("expire:on=get", "parts only"),
        ("etag:on=create", "parts only"),
        ("etag:part=1:after=1", "takes no 'after'"),
        ("503:part=1:message=\ud800", "surrogates"),
    ],
)
def test_a_spec_that_does_not_parse_is_named_with_what_is_wrong(spec: str, why: str) -> None:
    with pytest.raises(ValueError, match="fault ") as caught:
        parse(spec)
    assert repr(spec) in str(caught.value)
    assert why in str(caught.value)


WORDS = """503 drop part on at early = : * 50% inf get times 9"""
words = st.sampled_from(WORDS.split())


@given(st.one_of(st.text(), st.lists(words).map("".join)))
@example("9" * 5000)
@example("503:part=" + "9" * 5000)
def test_parsing_raises_nothing_but_value_error(spec: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse(spec), Fault)


def fired(specs: list[str], *requests: tuple[Target, int | None]) -> list[str | None]:
    plan = FaultPlan([parse(spec) for spec in specs])
    faults = [plan.next(target, part) for target, part in requests]
    return [fault.spec if fault else None for fault in faults]


def test_a_fault_fires_once_and_only_for_its_target() -> None:
    part, get = "503:part=2", "500:on=get"
    requests: list[tuple[Target, int | None]] = [("part", 1), ("part", 2), ("part", 2), ("create", None)]
    assert fired([part, get], *requests, ("get", None), ("get", None)) == [None, part, None, None, get, None]


def test_any_part_means_each_of_them_as_often_as_it_says() -> None:
    spec = "503:part=*:times=2"
    assert fired([spec], ("part", 1), ("part", 9), ("part", 1)) == [spec, spec, None]
    assert fired(["503:part=*:times=inf"], *[("part", 1)] * 50) == ["503:part=*:times=inf"] * 50


def test_skip_lets_the_first_requests_through() -> None:
    spec = "503:part=1:skip=2"
    assert fired([spec], *[("part", 1)] * 4) == [None, None, spec, None]


def test_the_first_fault_listed_wins_and_the_others_wait_but_count() -> None:
    first, second, third = "503:part=1", "500:part=1", "502:part=1:skip=1"
    assert fired([first, second, third], *[("part", 1)] * 4) == [first, second, third, None]


@pytest.mark.parametrize(
    ("place", "cut"),
    [(Place(), 0), (Place("percent", 50), 500), (Place("percent", 100), 1000), (Place("bytes", 7), 7)],
)
def test_a_place_is_a_number_of_bytes(place: Place, cut: int) -> None:
    assert place.cut(1000) == cut


def test_a_place_beyond_the_body_is_its_end_and_the_answer_is_past_it() -> None:
    assert Place("bytes", 5000).cut(1000) == 1000
    assert Place("answer").cut(1000) is None


def test_a_status_fault_speaks_like_the_store_unless_told_otherwise() -> None:
    assert parse("503:part=1").text == ("SlowDown", "SlowDown (injected)")
    assert parse("504:part=1").text[0] == "GatewayTimeout"
    assert parse("599:part=1").text[0] == "Unknown"
    assert parse("403:part=1:code=InvalidToken:message=a%3Ab%25").text == ("InvalidToken", "a:b%")
