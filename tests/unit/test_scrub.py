"""Foreign text is fit for a message: no query, no token, no more of it than helps."""

from __future__ import annotations

import pytest

from uploader.core.scrub import mask, scrub, scrub_code


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot read https://h/k?sig=abc now", "cannot read [URL removed] now"),
        ("cannot read https://h/k now", "cannot read https://h/k now"),
        ("of a=1&b=2, too", "of [URL removed], too"),
        ("of k?b=2", "of [URL removed]"),
        ("is size=5 right?", "is size=5 right?"),
        ("of R&D", "of R&D"),
        ("<a href='/k?sig=abc'>", "<a href='[URL removed]'>"),
    ],
)
def test_what_has_a_query_is_removed(text: str, left: str) -> None:
    assert scrub(text) == left


def test_what_may_be_a_token_has_24_characters_at_least() -> None:
    assert scrub(f"for {'a1' * 12}!") == "for [removed]!"
    assert scrub(f"for {'a1' * 11}a!") == f"for {'a1' * 11}a!"


UPLOAD_ID = "upload_0123456789abcdef0123"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"there is no upload {UPLOAD_ID} here", f"there is no upload {UPLOAD_ID} here"),
        (f"not {UPLOAD_ID}.", f"not {UPLOAD_ID}."),
        (f"not {UPLOAD_ID}a", "not [removed]"),
        (f"not {'s' * 20}{UPLOAD_ID}{'s' * 20}", "not [removed]"),
        (f"not {UPLOAD_ID[:-1]}4", "not [removed]"),
        (f"not https://h/{UPLOAD_ID}?sig=abc", "not [URL removed]"),
    ],
)
def test_the_id_that_was_asked_for_is_kept_where_it_stands_alone(text: str, left: str) -> None:
    assert scrub(text, known=UPLOAD_ID) == left


@pytest.mark.parametrize("known", ["a", "a1a1", ""])
def test_a_short_id_lets_no_part_of_a_token_through(known: str) -> None:
    assert scrub(f"for {'a1' * 12}!", known=known) == "for [removed]!"


def test_500_characters_are_kept() -> None:
    text = "word " * 200
    assert scrub(text) == text[:500]


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("PartsCountExceeded", "PartsCountExceeded"),
        ("UPLOAD_PARTS_COUNT_EXCEEDED_404", "UPLOAD_PARTS_COUNT_EXCEEDED_404"),
        ("k?sig=abc", "[URL removed]"),
        ("0123456789abcdef" * 4, "[removed]"),
    ],
)
def test_a_code_is_kept_if_it_is_one(code: str, left: str) -> None:
    assert scrub_code(code) == left


@pytest.mark.parametrize("secrets", [[b"b", b"abc"], [b"abc", b"b"], {b"ab", b"abc", b"b"}])
def test_no_secret_is_left_where_one_is_part_of_another(secrets: list[bytes]) -> None:
    assert mask(b"abc, b and d", secrets) == b"[removed], [removed] and d"
    assert mask(b"nothing", []) == b"nothing"
