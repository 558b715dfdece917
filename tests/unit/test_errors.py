"""The errors are one tree, drawn where it is defined, and each survives a process boundary whole."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

from uploader import errors
from uploader.errors import UploaderError

WORDS: dict[str, dict[str, Any]] = {
    "UploaderError": {},
    "InputError": {},
    "SourceError": {},
    "StateError": {},
    "CredentialsError": {},
    "ApiError": {"status": 422, "code": "quota"},
    "AuthError": {"status": 401, "code": "denied"},
    "NotFoundError": {"status": 404},
    "AnswerError": {},
    "UnreachableError": {},
    "PartError": {"part": 7, "final": True},
    "SourceChangedError": {},
    "UploadBusyError": {},
    "UploadFailedError": {},
    "NotCompletedError": {},
    "UploadConflictError": {},
    "UploadTimeoutError": {},
    "UploadCancelledError": {},
}


def drawn_tree() -> set[tuple[str, str]]:
    """(parent, child) pairs as the module docstring draws them."""
    pairs: set[tuple[str, str]] = set()
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error)\b", line)
        if found:
            depth = len(found.group(1)) // 4
            path = [*path[:depth], found.group(2)]
            pairs.add((path[-2] if depth else "", path[-1]))
    return pairs


def real_tree(parent: type[UploaderError]) -> set[tuple[str, str]]:
    children = [kind for kind in parent.__subclasses__() if kind.__module__ == errors.__name__]
    pairs = {(parent.__name__, child.__name__) for child in children}
    return pairs.union(*(real_tree(child) for child in children))


def make(name: str, upload_id: str | None = None) -> UploaderError:
    error: UploaderError = getattr(errors, name)("what happened", upload_id=upload_id, **WORDS[name])
    return error


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    assert drawn_tree() == {("", "UploaderError")} | real_tree(UploaderError)


def test_every_error_is_tried_here() -> None:
    assert {name for _, name in drawn_tree()} == set(WORDS)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("upload_id", [None, "up_1"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_is_whole_after_pickling(name: str, upload_id: str | None, protocol: int) -> None:
    error = make(name, upload_id)
    error.resumable, error.nothing_sent = True, False
    error.add_note("a note")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert (str(back), back.args, back.__dict__) == (str(error), error.args, error.__dict__)


@pytest.mark.parametrize("name", WORDS)
def test_every_error_can_be_copied(name: str) -> None:
    error = make(name, "up_1")
    assert copy.deepcopy(error).__dict__ == error.__dict__


@pytest.mark.parametrize("name", WORDS)
def test_the_attributes_are_what_was_said(name: str) -> None:
    error = make(name, "up_1")
    assert str(error) == "what happened"
    assert error.upload_id == "up_1"
    for attribute, value in WORDS[name].items():
        assert getattr(error, attribute) == value


@pytest.mark.parametrize("name", ["InputError", "SourceError", "StateError", "CredentialsError"])
def test_bad_input_is_a_value_error_too_and_nothing_was_sent(name: str) -> None:
    error = make(name)
    assert isinstance(error, ValueError)
    assert error.nothing_sent


def test_by_default_nothing_is_resumable_and_an_error_code_is_empty() -> None:
    assert not errors.UploadTimeoutError("late").resumable
    assert errors.ApiError("no", status=422).code == ""
    assert not UploaderError("x").resumable
    assert not UploaderError("x").nothing_sent
