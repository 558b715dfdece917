"""What others wrote reaches a terminal escaped."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.observe.text import human_age, human_size
from uploader.printable import printable


@pytest.mark.parametrize(
    ("hostile", "escaped"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("safe\rfake", "safe\\rfake"),
        ("a\nb\tc\x00", "a\\nb\\tc\\x00"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2066b\u2069\u200f", "a\\u2066b\\u2069\\u200f"),
        ("a\u200bb", "a\\u200bb"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
    ],
    ids=["ansi", "osc", "cr", "controls", "bidi override", "bidi isolate", "zero width", "c1", "surrogate"],
)
def test_control_bidi_and_invisible_characters_are_escaped(hostile: str, escaped: str) -> None:
    assert printable(hostile) == escaped


@pytest.mark.parametrize("text", ["", "plain text", "Grüße, 世界 🎉", "back\\slash"])
def test_what_can_be_printed_is_left_alone(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters()))
def test_nothing_that_moves_the_cursor_or_hides_is_left(text: str) -> None:
    said = printable(text)
    assert not {unicodedata.category(c) for c in said} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    said.encode("utf-8")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 1024**2, "5.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (5 * 10**12, "4.5 TiB"),
        (2000 * 1024**4, "2000.0 TiB"),
    ],
)
def test_sizes_are_in_powers_of_1024(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (44 * 60, "44 min"),
        (3600, "1 h"),
        (23 * 3600, "23 h"),
        (86400, "1 d"),
        (400 * 86400, "400 d"),
    ],
)
def test_ages_are_in_their_largest_unit(seconds: float, text: str) -> None:
    assert human_age(seconds) == text


@pytest.mark.parametrize("seconds", [59.7, 3599, 86399])
def test_no_age_shows_as_much_of_a_unit_as_makes_the_next(seconds: float) -> None:
    assert human_age(seconds) not in ("60 s", "60 min", "24 h")


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_of_two_ages_the_older_never_shows_as_the_younger(one: float, other: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    shown = [human_age(seconds).split() for seconds in sorted((one, other))]
    younger, older = (int(number) * units[unit] for number, unit in shown)
    assert younger <= older
