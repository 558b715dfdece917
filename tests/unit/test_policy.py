"""Where parts may be sent."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from uploader.core.policy import PUBLIC, StoragePolicy

LOOPBACK = StoragePolicy(loopback=True)
PRIVATE = StoragePolicy(private=True)
NAMED = StoragePolicy(hosts=("store.example", "*.cdn.example", "10.0.0.5"))


@pytest.mark.parametrize(
    ("policy", "url"),
    [
        (PUBLIC, "https://bucket.example/k"),
        (PUBLIC, "https://8.8.8.8/k"),
        (LOOPBACK, "https://bucket.example/k"),
        (LOOPBACK, "http://127.0.0.1:9000/k"),
        (LOOPBACK, "https://127.0.0.1:9000/k"),
        (LOOPBACK, "https://10.0.0.5/k"),
        (PRIVATE, "https://10.0.0.5/k"),
        (NAMED, "https://store.example/k"),
        (NAMED, "https://STORE.example./k"),
        (NAMED, "https://a.cdn.example/k"),
        (NAMED, "https://a.b.cdn.example/k"),
        (NAMED, "https://10.0.0.5/k"),
    ],
)
def test_these_are_taken(policy: StoragePolicy, url: str) -> None:
    assert policy.refusal(urlsplit(url)) == ""


@pytest.mark.parametrize(
    ("policy", "url", "wrong"),
    [
        (PUBLIC, "http://bucket.example/k", "is http:, not https:"),
        (PUBLIC, "http://127.0.0.1/k", "is http:, not https:"),
        (PRIVATE, "http://127.0.0.1/k", "is http:, not https:"),
        (LOOPBACK, "http://10.0.0.5/k", "is http:, not https:"),
        (LOOPBACK, "ftp://127.0.0.1/k", "is ftp:, not https:"),
        (PUBLIC, "//bucket.example/k", "is nothing:, not https:"),
        (PUBLIC, "https://user@bucket.example/k", "carries a user name"),
        (PUBLIC, "https://:secret@bucket.example/k", "carries a user name"),
        (LOOPBACK, "https://@bucket.example/k", "carries a user name"),
        (PUBLIC, "https://10.0.0.5/k", "points into a private network"),
        (PUBLIC, "https://localhost/k", "points into a private network"),
        (NAMED, "https://bucket.example/k", "none of the storage hosts allowed"),
        (NAMED, "https://cdn.example/k", "none of the storage hosts allowed"),
        (NAMED, "https://evilcdn.example/k", "none of the storage hosts allowed"),
        (NAMED, "https://a.store.example/k", "none of the storage hosts allowed"),
        (NAMED, "https://10.0.0.6/k", "none of the storage hosts allowed"),
        (StoragePolicy(hosts=()), "https://bucket.example/k", "none of the storage hosts allowed"),
    ],
)
def test_these_are_refused(policy: StoragePolicy, url: str, wrong: str) -> None:
    assert wrong in policy.refusal(urlsplit(url))


def test_what_cannot_be_read_is_refused() -> None:
    assert LOOPBACK.refusal(None) == "cannot be read"


@pytest.mark.parametrize(
    ("policy", "host", "address", "permitted"),
    [
        (PUBLIC, "bucket.example", "8.8.8.8", True),
        (PUBLIC, "bucket.example", "10.0.0.5", False),
        (PUBLIC, "bucket.example", "127.0.0.1", False),
        (LOOPBACK, "bucket.example", "127.0.0.1", True),
        (PRIVATE, "bucket.example", "10.0.0.5", True),
        (NAMED, "store.example", "10.0.0.5", True),
        (NAMED, "bucket.example", "10.0.0.5", False),
    ],
)
def test_a_name_is_judged_by_where_it_leads(
    policy: StoragePolicy, host: str, address: str, permitted: bool
) -> None:
    assert policy.permits(host, address) == permitted


def test_of_several_addresses_those_that_are_permitted_are_left() -> None:
    found = ["10.0.0.5", "8.8.8.8", "127.0.0.1", "2606:4700::1"]
    assert PUBLIC.permitted("store.example", found) == ["8.8.8.8", "2606:4700::1"]
    assert NAMED.permitted("store.example", found) == found
