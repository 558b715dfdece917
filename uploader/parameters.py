"""What the command's parameters are, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from uploader.options import Concurrency

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}
_UNITS |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}


def size(text: str) -> int:
    """A number of bytes, with or without a unit: 16777216, 16MiB, 16MB."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)\s*", text.lower())
    if found is None or found.group(2) not in _UNITS:
        raise click.BadParameter(f"{text!r} is no size: write 16MiB or 16777216")
    return int(float(found.group(1)) * _UNITS[found.group(2)])


def age(text: str) -> timedelta:
    """A time span with a unit: 90s, 45m, 12h, 30d."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*([smhd])\s*", text.lower())
    if found is None:
        raise click.BadParameter(f"{text!r} is no time span: write 30d, 12h, 45m or 90s")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found.group(2)]
    return timedelta(**{unit: int(found.group(1))})


def seconds(text: str) -> float:
    """A time span in seconds, or with a unit: 600, 1.5, 90s, 10m, 2h."""
    try:
        return float(text)
    except ValueError:
        return age(text).total_seconds()


def concurrency(text: str) -> Concurrency:
    """`auto`, or a number."""
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise click.BadParameter(f"{text!r} is neither auto nor a number")
    return int(text)


def listed(read: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Several of what `read` reads, separated by commas."""
    return lambda text: tuple(read(item.strip()) for item in text.split(","))


def talking(command: F) -> F:
    """The options of every command that talks to the API."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Show nothing but errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
        click.option(
            "--timeout",
            type=seconds,
            metavar="TIME",
            help="Give up on a file after this long: 600, 90s, 10m, 2h.",
        ),
        click.option("--project-id", help="The project that owns the upload."),
    ):
        command = option(command)
    return command


def sending(command: F) -> F:
    """The options of every command that sends parts."""
    for option in (
        click.option(
            "--dask",
            metavar="SCHEDULER",
            help="Send the parts from the workers of a Dask cluster, as tcp://host:8786, which see the file.",
        ),
        click.option("--wait-lock", is_flag=True, help="Wait while another process uploads the same file."),
        click.option(
            "--verify-source",
            type=click.Choice(["sampled", "full"]),
            default="sampled",
            show_default=True,
            help="How much of what was sent to compare with the file before an upload is gone on with.",
        ),
        click.option(
            "--verify",
            type=click.Choice(["md5", "none"]),
            default="md5",
            show_default=True,
            help="Compare each part's MD5 with the store's ETag.",
        ),
        click.option(
            "--wait-for",
            type=click.Choice(["validated", "imported", "none"]),
            default="validated",
            show_default=True,
            help="Which status to wait for.",
        ),
        click.option(
            "--concurrency",
            type=concurrency,
            metavar="auto|N",
            default="auto",
            show_default=True,
            help="Parts at once, up to 64; auto: as few as fill the line.",
        ),
    ):
        command = option(command)
    return command
