"""Tasks of Dask's whose end will never be told are noticed, and no others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from uploader.core.outcomes import Break, Broken
from uploader.io.dask import PATIENCE, Watch


def client(status: str = "running", **futures: str) -> SimpleNamespace:
    """What is looked at of Dask's client; that the real one has it is held in tests/cluster."""
    states = {key: SimpleNamespace(status=state) for key, state in futures.items()}
    return SimpleNamespace(status=status, futures=states)


def test_a_task_under_way_is_never_given_up() -> None:
    watch = Watch(client(a="pending"))
    assert [watch.loss("a", now) for now in (0.0, 1e6)] == [None, None]


@pytest.mark.parametrize("state", ["finished", "error", "lost", "cancelled"])
def test_a_task_that_ended_has_a_while_to_tell(state: str) -> None:
    watch = Watch(client(a=state))
    assert watch.loss("a", 5.0) is None
    assert watch.loss("a", 5.0 + PATIENCE) is None
    assert watch.loss("a", 5.1 + PATIENCE) == Broken(Break.LOST, "its result never came")


def test_so_has_one_that_is_not_known_any_more() -> None:
    watch = Watch(client())
    assert watch.loss("a", 5.0) is None
    assert watch.loss("a", 16.0) is not None


def test_one_that_was_begun_again_begins_again() -> None:
    dask = client(a="lost")
    watch = Watch(dask)
    watch.loss("a", 0.0)
    dask.futures["a"].status = "pending"
    assert watch.loss("a", 9.0) is None
    dask.futures["a"].status = "finished"
    assert watch.loss("a", 11.0) is None
    assert watch.loss("a", 22.0) is not None


def test_what_was_told_is_forgotten() -> None:
    watch = Watch(client(a="finished"))
    watch.loss("a", 0.0)
    watch.forget("a")
    assert watch.loss("a", 11.0) is None


def test_when_the_client_is_closed_all_are_lost_at_once() -> None:
    watch = Watch(client("closed", a="pending"))
    assert watch.is_closed
    assert watch.loss("a", 0.0) == Broken(Break.EXECUTOR, "its scheduler is gone")


def test_of_other_executors_nothing_is_known() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert Watch.over(pool) is None
