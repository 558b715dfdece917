"""Settings are frozen, keep secrets to themselves, and are refused where they make no sense."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pickle
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.errors import CredentialsError, InputError
from uploader.options import (
    DEFAULT_BASE_URL,
    MAX_CONCURRENCY,
    Credentials,
    RetryPolicy,
    Timeouts,
    TransferOptions,
    check_base_url,
    is_loopback,
)

KEY, SECRET, JWT = "SCENARIO_SDK_API_KEY", "SCENARIO_SDK_API_SECRET", "SCENARIO_SDK_JWT"
FULL = {KEY: "k-from-env", SECRET: "s-from-env"}


def revealed(found: Credentials) -> tuple[str | None, ...]:
    fields = (found.api_key, found.api_secret, found.jwt)
    return tuple(field.get_secret_value() if field else None for field in fields)


# Credentials


@pytest.mark.parametrize(
    ("environment", "given_ones", "expected"),
    [
        (FULL, {}, ("k-from-env", "s-from-env", None)),
        ({**FULL, JWT: "token"}, {}, (None, None, "token")),
        (FULL, {"jwt": "token"}, (None, None, "token")),
        ({}, {"api_key": "k", "api_secret": "s", "jwt": "token"}, (None, None, "token")),
        ({}, {"api_key": "k", "api_secret": "s"}, ("k", "s", None)),
        (FULL, {"api_key": "k"}, ("k", "s-from-env", None)),
        (FULL, {"api_secret": "s"}, ("k-from-env", "s", None)),
        ({JWT: "token"}, {"api_key": "k", "api_secret": "s"}, ("k", "s", None)),
        ({JWT: "  "} | FULL, {}, ("k-from-env", "s-from-env", None)),
        ({KEY: " k\n", SECRET: "\ts "}, {}, ("k", "s", None)),
        ({JWT: " token\n"}, {}, (None, None, "token")),
    ],
)
def test_those_given_win_over_the_environment_and_a_jwt_over_a_key(
    environment: dict[str, str], given_ones: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    assert revealed(Credentials.find(environment, **given_ones)) == expected


@pytest.mark.parametrize(
    ("environment", "named", "not_named"),
    [
        ({}, [KEY, SECRET, JWT], []),
        ({KEY: "k"}, [SECRET], [KEY]),
        ({SECRET: "s"}, [KEY], [SECRET]),
        ({KEY: "", SECRET: " "}, [KEY, SECRET, JWT], []),
        ({KEY: "k", SECRET: ""}, [SECRET], [KEY]),
    ],
)
def test_each_missing_variable_is_named(
    environment: dict[str, str], named: list[str], not_named: list[str]
) -> None:
    with pytest.raises(CredentialsError) as caught:
        Credentials.find(environment)
    words = str(caught.value).replace("(", " ").replace(")", " ").split()
    assert set(named) <= set(words)
    assert not set(not_named) & set(words)


@pytest.mark.parametrize("variable", [KEY, SECRET, JWT])
@pytest.mark.parametrize("bad", ["s3cr3t\r\nX-Evil: 1", "s3cr3t\x00", "s3cr3té", "s3cr3t\u200b"])
def test_what_no_header_can_carry_is_refused_without_being_shown(variable: str, bad: str) -> None:
    with pytest.raises(CredentialsError, match=f"{variable}$") as caught:
        Credentials.find({**FULL, variable: bad})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("environment", [FULL, {JWT: "t-from-env"}])
def test_no_text_shows_a_secret(environment: dict[str, str]) -> None:
    found = Credentials.find(environment)
    for text in (str(found), repr(found), f"{found}", str(dataclasses.asdict(found))):
        assert "from-env" not in text


def test_the_variables_they_come_from_can_be_named() -> None:
    assert Credentials.find(FULL).variables == f"{KEY} and {SECRET}"
    assert Credentials.find({JWT: "t"}).variables == JWT


# The base URL


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        (DEFAULT_BASE_URL, "https://api.cloud.scenario.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://10.0.0.1/v1", "https://10.0.0.1/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://LOCALHOST./v1", "http://LOCALHOST./v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.8.8.8", "http://127.8.8.8"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_https_and_loopback_are_taken(url: str, checked: str) -> None:
    assert check_base_url(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "//api.example.com/v1",
        "https://",
        "https:///v1",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "http://api.example.com/v1",
        "http://10.0.0.1/v1",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com",
        "http://0.0.0.0",
        "http://[fe80::1]",
        "https://api.example.com:port",
        "https://api.example.com:99999",
        "https://[api.example.com",
        "https://@api.example.com",
        "https://api.example.com/v1?projectId=p",
        "https://api.example.com/v1#top",
    ],
)
def test_any_other_base_url_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://key:s3cr3t@api.example.com/v1",
        "https://s3cr3t@api.example.com",
        "http://key:s3cr3t@localhost",
        "https://api.example.com/?token=s3cr3t",
        "https://key:s3cr3t@api.example.com:port",
        "key:s3cr3t@api.example.com/v1",
    ],
)
def test_a_secret_in_the_base_url_is_refused_without_being_shown(url: str) -> None:
    """errors.py: no message carries a credential; faults.md case 25."""
    with pytest.raises(InputError) as caught:
        check_base_url(url)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        " https://api.example.com/v1",
        "https://api.example.com/v1\n",
        "https://api.example.com/v1 ",
        "https://api.example\n.com/v1",
        "https://api.example.com/\x1b[31m",
        "https://api.example.com/v1?",
        "https://api.example.com/v1#",
        "https://999.1.1.1/v1",
    ],
)
def test_what_is_taken_can_have_paths_added(url: str) -> None:
    """Cleaned up or refused, both will do; but a call must not go astray or end in a foreign exception."""
    try:
        checked = check_base_url(url)
    except InputError:
        return
    assert checked.isprintable()
    assert " " not in checked
    assert httpx.URL(f"{checked}/uploads").path.endswith("/uploads")


@given(st.text())
def test_any_text_is_a_base_url_or_an_input_error(text: str) -> None:
    for url in (text, f"https://{text}", f"http://{text}/v1"):
        with contextlib.suppress(InputError):
            check_base_url(url)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("localhost.example.com", False),
        ("127.0.0.1.nip.io", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# The rest


def test_the_defaults_are_the_designs() -> None:
    options = TransferOptions()
    assert (options.part_size, options.concurrency) == (None, "auto")
    assert (options.wait_for, options.verify, options.timeout) == ("validated", "md5", None)
    assert options.parts_in_flight == MAX_CONCURRENCY == 64


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_a_number_is_the_concurrency(concurrency: int) -> None:
    assert TransferOptions(concurrency=concurrency).parts_in_flight == concurrency


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": value} for value in (0, -1, 65, 2.0, True, "8", None)]
    + [{"wait_for": value} for value in ("", "none", "complete", 1)]
    + [{"verify": value} for value in ("", "sha256", None, True)]
    + [{"timeout": value} for value in (0, -1, 0.0, math.nan, math.inf, -math.inf)],
)
def test_a_transfer_option_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TransferOptions(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"first_attempts": 0},
        {"base": -1.0},
        {"base": math.nan},
        {"cap": -1.0},
        {"retry_after_cap": -1.0},
        {"budget": -1},
        {"budget_rate": 0.0},
        {"budget_rate": -1.0},
        {"poll_first": -1.0},
        {"poll_cap": math.nan},
        {"wait_limit": -1.0},
    ],
)
def test_a_retry_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """design.md: options.py holds frozen, validated settings: credentials, transfer options, retry policy."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


@pytest.mark.parametrize("field", ["connect", "stall", "answer", "api"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_timeout_that_makes_no_sense_is_refused(field: str, value: float) -> None:
    """options.py: settings are refused with an InputError where they make no sense."""
    with pytest.raises(InputError, match=field):
        Timeouts(**{field: value})


@pytest.mark.parametrize("settings", [RetryPolicy(), Timeouts(), TransferOptions(), Credentials.find(FULL)])
def test_settings_are_frozen_and_picklable(settings: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, dataclasses.fields(settings)[0].name, None)
    assert pickle.loads(pickle.dumps(settings)) == settings
