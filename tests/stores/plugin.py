"""Fixtures: the object stores that were asked for.

`UPLOADER_STORES=seaweedfs,juicefs,swift` asks for these; without it, it is SeaweedFS alone. A store that was
asked for and cannot be had here is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.stores.juicefs import juicefs
from tests.stores.seaweedfs import seaweedfs
from tests.stores.store import Store, certified
from tests.stores.swift import swift

Open = Callable[[Path], AbstractContextManager[Store]]

STORES: dict[str, Open] = {"seaweedfs": seaweedfs, "juicefs": juicefs, "swift": swift}


def asked_for() -> list[str]:
    """The names in UPLOADER_STORES.

    Raises:
        pytest.UsageError: there is no such store.
    """
    names = (os.environ.get("UPLOADER_STORES") or "seaweedfs").split(",")
    if unknown := set(names) - set(STORES):
        raise pytest.UsageError(f"UPLOADER_STORES: {', '.join(sorted(unknown))}: know {', '.join(STORES)}")
    return names


@pytest.fixture(scope="session", params=asked_for())
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Each store that was asked for, shared by all tests: leave it running."""
    with STORES[request.param](tmp_path_factory.mktemp(request.param)) as opened:
        yield opened


@pytest.fixture(params=asked_for())
def own_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each store that was asked for, for this test alone: it may be stopped and restarted."""
    with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def tls_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """SeaweedFS that speaks TLS, under an authority that nothing else here trusts."""
    directory = tmp_path_factory.mktemp("seaweedfs-tls")
    with seaweedfs(directory, certified(directory)) as opened:
        yield opened
