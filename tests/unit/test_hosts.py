"""Which hosts are this machine's, which are private, which are none at all."""

from __future__ import annotations

import pytest

from uploader.hosts import is_host, is_loopback, is_private, split_url

LABEL = "a" * 63
LOOPBACK = ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
PRIVATE = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0"),
    *("fd00::1", "fe80::1", "::", "::ffff:10.0.0.1"),
    *("224.0.0.1", "ff0e::1"),  # everybody who listens
    *("fec0::1", "::8.8.8.8", "1fff::1", "4000::1"),  # never given out, or not any more
    "168.63.129.16",  # means the machine's own host, in Azure
    *("2002:a00:1::", "64:ff9b::a00:1", "64:ff9b::127.0.0.1"),  # a gateway takes it to 10.0.0.1
]
PUBLIC = ["example.com", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("host", [*LOOPBACK, *PRIVATE, *PUBLIC])
def test_a_host_is_this_machines_or_of_a_private_network_or_public(host: str) -> None:
    assert is_loopback(host) == (host in LOOPBACK)
    assert is_private(host) == (host not in PUBLIC)


@pytest.mark.parametrize("host", ["localhost.example.com", "notlocalhost", "127.0.0.1.example.com", ""])
def test_names_that_only_look_like_this_machine_are_public(host: str) -> None:
    assert not is_loopback(host)
    assert not is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "a",
            "example.com",
            "example.com.",
            "xn--bcher-kva.example",
            "my_bucket.example",
            "1.example",
            "a.1b",
        ),
        *("1.2.3.4", "::1", LABEL, ".".join([LABEL] * 3 + ["a" * 61])),
    ],
)
def test_names_the_dns_could_know_and_addresses_are_hosts(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "a..b", ".a", "a b", "a/b", "é", "a..", "[::1]"),
        *(LABEL + "a", ".".join([LABEL] * 3 + ["a" * 62])),
        *("1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "example.1", "1.2.3.4."),
        *("0x7f.1", "a.0x7F", "a.0X1", "a.0x", "0x7f000001"),  # an address to some systems
    ],
)
def test_what_the_dns_cannot_know_is_no_host(host: str) -> None:
    assert not is_host(host)


def test_a_url_is_split() -> None:
    parts = split_url("https://h.example:8443/a/b?c=d")
    assert parts is not None
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("h.example", 8443, "/a/b", "c=d")


@pytest.mark.parametrize(
    "text",
    [
        *("https://h.example/é", "https://h.example/\x7f", "https://h.example/a b", "https://h.example/\n"),
        *(
            "https://h.example:99999/",
            "https://h.example:x/",
            "https://[h/",
            "https:///",
            "",
            "https://a..b/",
        ),
    ],
)
def test_a_url_that_cannot_be_read_is_none(text: str) -> None:
    assert split_url(text) is None
