"""Which errors say that this machine is short of something, and what is made of what keeps a part back."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading

import httpx
import pytest

from uploader.core.outcomes import Break, Broken
from uploader.errors import InputError, SourceChangedError, SourceError
from uploader.io.connections import classify
from uploader.io.shortage import shortage, start
from uploader.io.storage import no_attempt


def system(code: int) -> OSError:
    return OSError(code, os.strerror(code))


SHORT = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS]
OTHER = [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOSPC, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT]


@pytest.mark.parametrize("code", SHORT)
def test_what_there_is_none_left_of_is_told_in_the_systems_words(code: int) -> None:
    assert shortage(system(code)) == os.strerror(code)


@pytest.mark.parametrize("code", OTHER)
def test_any_other_error_of_the_systems_is_none(code: int) -> None:
    assert shortage(system(code)) == ""


@pytest.mark.parametrize("code", SHORT)
def test_numbers_that_are_not_the_systems_are_not_taken_for_its(code: int) -> None:
    """OpenSSL and `getaddrinfo` count by themselves: 11 and 12 mean something else there."""
    assert shortage(ssl.SSLError(code, "wrong version")) == ""
    assert shortage(socket.gaierror(code, "no such name")) == ""


def test_memory_is_one_whoever_misses_it() -> None:
    assert shortage(MemoryError()) == "out of memory"
    if hasattr(socket, "EAI_MEMORY"):
        assert shortage(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"))


def test_what_an_error_came_from_counts_and_what_it_hides_does_not() -> None:
    def raised(error: Exception, cause: BaseException | None) -> Exception:
        try:
            try:
                raise system(errno.EMFILE)
            except OSError:
                raise error from cause
        except Exception as caught:  # noqa: BLE001 - whichever was given
            return caught

    meanwhile, since, hidden = ValueError("1"), ValueError("2"), ValueError("3")
    raised(meanwhile, system(errno.EMFILE))
    assert shortage(meanwhile) == os.strerror(errno.EMFILE)
    assert shortage(raised(since, meanwhile)) == os.strerror(errno.EMFILE)
    assert shortage(raised(hidden, None)) == ""


@pytest.mark.parametrize("code", SHORT)
def test_a_socket_that_cannot_be_had_is_no_fault_of_the_network(code: int) -> None:
    said = Broken(Break.SHORTAGE, os.strerror(code))
    wrapped = httpx.ConnectError("[Errno] what the system said")
    wrapped.__cause__ = system(code)
    assert classify(wrapped) == classify(system(code)) == said


def came_from(error: Exception, code: int) -> Exception:
    error.__cause__ = system(code)
    return error


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (httpx.InvalidURL("https://a..b/?secret"), Broken(Break.UNUSABLE)),
        (SourceChangedError("it was written to"), Broken(Break.CHANGED, "it was written to")),
        # It was looked at again because it could not be opened, and that told more.
        (came_from(SourceChangedError("it is gone"), errno.EMFILE), Broken(Break.CHANGED, "it is gone")),
        *((came_from(SourceError("f"), it), Broken(Break.SHORTAGE, os.strerror(it))) for it in SHORT),
        *((came_from(SourceError("f"), it), Broken(Break.UNREADABLE, os.strerror(it))) for it in OTHER),
        *((came_from(InputError("CA"), it), Broken(Break.SHORTAGE, os.strerror(it))) for it in SHORT),
        (came_from(InputError("no such CA"), errno.ENOENT), Broken(Break.UNFIT, "no such CA")),
        (InputError("no such proxy"), Broken(Break.UNFIT, "no such proxy")),
        (MemoryError(), Broken(Break.SHORTAGE, "out of memory")),
        (system(errno.EAGAIN), Broken(Break.SHORTAGE, os.strerror(errno.EAGAIN))),
    ],
)
def test_what_keeps_a_part_from_going_is_known_by_what_it_came_from(error: Exception, how: Broken) -> None:
    assert no_attempt(error) == how


def test_a_thread_that_can_be_started_is() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    start(thread)
    thread.join()
    assert done.is_set()


def test_one_that_cannot_be_is_a_shortage() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    with pytest.raises(OSError, match="no further thread") as caught:
        start(thread)  # CPython has one exception for all that keeps a thread from being started
    assert shortage(caught.value)
