"""Fixtures: the object stores that were asked for.

`UPLOADER_STORES=seaweedfs,juicefs,swift` asks for these; without it, it is SeaweedFS alone. A store that was
asked for and cannot be had here is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
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


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """Opens a store by its name, once for all tests: leave it running."""
    with ExitStack() as stack:

        @cache
        def shared(name: str) -> Store:
            return stack.enter_context(STORES[name](tmp_path_factory.mktemp(name)))

        yield shared


@pytest.fixture(scope="session", params=asked_for())
def store(request: pytest.FixtureRequest, shared_store: Callable[[str], Store]) -> Store:
    """Each store that was asked for, shared by all tests: leave it running."""
    return shared_store(request.param)


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
