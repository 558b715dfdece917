"""Threads for calls that block: as many as are needed, and none when it is closed."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from uploader.io.pool import Pool


def named(pool_name: str) -> list[threading.Thread]:
    return [it for it in threading.enumerate() if it.name.startswith(pool_name)]


def test_a_call_comes_to_what_it_returns_or_raises() -> None:
    with closing(Pool(2, "results")) as pool:
        assert pool.submit(lambda: 7).result(60) == 7
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 // 0).result(60)


def test_calls_one_after_the_other_take_one_thread() -> None:
    with closing(Pool(4, "one-by-one")) as pool:
        used = {pool.submit(threading.get_ident).result(60) for _ in range(50)}
        assert len(used) == len(named("one-by-one")) == 1


def test_calls_side_by_side_take_one_each_up_to_the_most() -> None:
    together, go = threading.Barrier(4), threading.Event()

    def call() -> int:
        together.wait(60)
        go.wait(60)
        return threading.get_ident()

    with closing(Pool(3, "side-by-side")) as pool:
        futures = [pool.submit(call) for _ in range(3)]
        together.wait(60)
        assert len(named("side-by-side")) == 3
        waiting = pool.submit(threading.get_ident)
        assert not waiting.done()
        go.set()
        assert waiting.result(60) in {future.result(60) for future in futures}
        assert len(named("side-by-side")) == 3


def test_closing_waits_for_what_was_taken_and_leaves_no_thread() -> None:
    pool, begun, go = Pool(2, "closing"), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go.wait(60)

    futures = [pool.submit(call), pool.submit(go.is_set), pool.submit(go.is_set)]
    begun.wait(60)
    go.set()
    pool.close()
    assert all(future.done() for future in futures)
    assert not named("closing")


def test_what_a_call_held_is_let_go_of_when_it_is_over() -> None:
    import weakref

    class Held:
        def __call__(self) -> None:
            pass

    held = Held()
    gone = threading.Event()
    weakref.finalize(held, gone.set)
    with closing(Pool(1, "holding")) as pool:
        pool.submit(held).result(60)
        del held
        assert gone.wait(60)
