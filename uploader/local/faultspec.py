"""Parses the fault language described in `faults`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args
from urllib.parse import unquote

from uploader.local.faults import Fault, Kind, Place, Target

_COMMON = {"part", "on", "times", "skip"}
_ANSWERED = {"after", "early"}
_KEYS: Mapping[Kind, set[str]] = {
    "status": {"code", "message"} | _ANSWERED,
    "drop": {"at"},
    "stall": {"at"},
    "expire": _ANSWERED,
    "etag": set(),
    "html": {"status"} | _ANSWERED,
    "redirect": {"to"} | _ANSWERED,
    "vanish": _ANSWERED,
}
_PART_ONLY = ("expire", "etag")
_MOST_PARTS = 10_000


def parse(spec: str) -> Fault:
    """The fault `spec` describes. Raises ValueError naming the spec and what is wrong with it."""
    try:
        return _parse(spec)
    except ValueError as error:
        raise ValueError(f"fault {spec!r}: {error}") from None


def _parse(spec: str) -> Fault:
    spec.encode()  # a lone surrogate could not be sent later on
    word, *items = spec.split(":")
    kind, fields = _kind(word)
    given = _items(items)
    _check_keys(kind, word, given)
    for key, text in given.items():
        fields |= _READERS[key](text)
    fault = Fault(spec=spec, kind=kind, **fields)
    _check_target(fault)
    return fault


def _kind(word: str) -> tuple[Kind, dict[str, Any]]:
    if word.isdecimal():
        return "status", {"status": _whole(word, 200, 599, "a status")}
    if word not in get_args(Kind) or word == "status":
        names = ", ".join(name for name in get_args(Kind) if name != "status")
        raise ValueError(f"{word!r} is no kind of fault; there are {names} and the statuses 200 to 599")
    defaults = {"html": {"status": 403}, "redirect": {"status": 307}}
    return cast(Kind, word), dict(defaults.get(word, {}))


def _items(items: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if (key == "early") == bool(equals):
            raise ValueError(
                "early takes no value" if equals else f"{item!r} is neither key=value nor a flag"
            )
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = unquote(value)
    return given


def _check_keys(kind: Kind, word: str, given: Mapping[str, str]) -> None:
    known = _COMMON | _KEYS[kind]
    for key in given:
        if key not in known:
            raise ValueError(f"{word} takes no {key!r}; it takes {', '.join(sorted(known))}")
    if ("part" in given) == ("on" in given):
        raise ValueError("name one target: part=N, part=*, on=create, on=get or on=complete")


def _check_target(fault: Fault) -> None:
    if fault.target == "part":
        return
    if fault.kind in _PART_ONLY:
        raise ValueError(f"{fault.kind} is for parts only")
    if fault.at.kind in ("percent", "bytes"):
        raise ValueError("the API's calls have at=headers and at=answer only")


def _whole(text: str, least: int, most: int, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is not {what} from {least} to {most}")
    return int(text)


def _part(text: str) -> dict[str, Any]:
    number = None if text == "*" else _whole(text, 1, _MOST_PARTS, "a part number")
    return {"target": "part", "part": number}


def _on(text: str) -> dict[str, Any]:
    if text not in ("create", "get", "complete"):
        raise ValueError(f"on={text} is not create, get or complete")
    return {"target": cast(Target, text)}


def _at(text: str) -> dict[str, Any]:
    if text in ("headers", "answer"):
        return {"at": Place(cast(Any, text))}
    if text.endswith("%"):
        return {"at": Place("percent", _whole(text[:-1], 0, 100, "a percentage"))}
    return {"at": Place("bytes", _whole(text, 0, 10**15, "a place (headers, answer, a percentage) or bytes"))}


def _times(text: str) -> dict[str, Any]:
    return {"times": math.inf if text == "inf" else _whole(text, 1, 10**15, "a count (or inf)")}


def _header(key: str) -> Callable[[str], dict[str, Any]]:
    # Anything may be sent, garbage included, but a line break would end the header.
    def read(text: str) -> dict[str, Any]:
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
            raise ValueError(f"{key}={text!r} cannot be sent as a header")
        return {key: text}

    return read


_READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "part": _part,
    "on": _on,
    "at": _at,
    "times": _times,
    "skip": lambda text: {"skip": _whole(text, 0, 10**15, "a count")},
    "status": lambda text: {"status": _whole(text, 200, 599, "a status")},
    "code": lambda text: {"code": text},
    "message": lambda text: {"message": text},
    "after": _header("after"),
    "to": _header("to"),
    "early": lambda _: {"early": True},
}
