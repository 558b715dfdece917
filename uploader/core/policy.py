"""Where parts may be sent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult

from uploader.hosts import is_loopback, is_private


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """Which of the service's URLs a file may be sent to. The service may be wrong, or not what it seems.

    Attributes:
        loopback: whether the API is on this machine: then the store may be too, in plain http as well.
        private: whether the API is at an address of a private network: then the store may be too.
        hosts: the only hosts to send to, "store.example" or "*.store.example", which may be in a private
            network; None takes any public one.
    """

    loopback: bool = False
    private: bool = False
    hosts: tuple[str, ...] | None = None

    def refusal(self, url: SplitResult | None) -> str:
        """What is wrong with a URL, "" where nothing is."""
        if url is None:
            return "cannot be read"
        host = url.hostname or ""
        if url.username is not None or url.password is not None:
            return "carries a user name"
        if url.scheme != "https" and not (url.scheme == "http" and self.loopback and is_loopback(host)):
            return f"is {url.scheme or 'nothing'}:, not https:"
        if self.hosts is not None and not self._names(host):
            return f"leads to {host}, which is none of the storage hosts allowed"
        if not self.permits(host, host):
            return "points into a private network, which is for hosts named in UPLOADER_STORAGE_HOSTS only"
        return ""

    def permits(self, host: str, address: str) -> bool:
        """Whether a store's host may be connected to at an address; names count as public ones."""
        return self.loopback or self.private or self._names(host) or not is_private(address)

    def permitted(self, host: str, addresses: list[str]) -> list[str]:
        """Those of a store's addresses that may be connected to."""
        return [it for it in addresses if self.permits(host, it)]

    def _names(self, host: str) -> bool:
        """Whether a host is one of those allowed by name."""
        host = host.lower().removesuffix(".")
        return any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
            for pattern in self.hosts or ()
        )


PUBLIC = StoragePolicy()
