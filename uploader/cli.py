"""The command: parse, show, exit codes.

Exit codes: 0 done, 1 failed for good, 2 bad usage or input and nothing sent, 3 stopped but resumable,
130 Ctrl-C.
With `--json` stdout carries one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from uploader.client import Uploader
from uploader.observe.report import DONE, FAILED, INTERRUPTED, USAGE, Report, error_fields, print_json, say
from uploader.options import JWT_VARIABLE, Concurrency, UploadOptions, WaitFor
from uploader.version import __version__

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}
_UNITS |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}


def size(text: str) -> int:
    """A number of bytes, with or without a unit: 16777216, 16MiB, 16MB."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)\s*", text.lower())
    if found is None or found.group(2) not in _UNITS:
        raise click.BadParameter(f"{text!r} is no size: write 16MiB or 16777216")
    return int(float(found.group(1)) * _UNITS[found.group(2)])


def concurrency(text: str) -> Concurrency:
    """`auto`, or a number."""
    if text == "auto":
        return "auto"
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise click.BadParameter(f"{text!r} is neither auto nor a number")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not fit the terminal's encoding
    try:
        return int(cli.main(list(arguments), prog_name="uploader", standalone_mode=False) or DONE)
    except click.ClickException as error:
        error.show(sys.stderr)
        return _json_error(arguments, USAGE, "UsageError", error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a defect; what a user gets of it is one line
        say(f"unexpected {type(error).__name__}: {error}; this is a fault of the uploader, please report it")
        return _json_error(arguments, FAILED, type(error).__name__, str(error))


def _json_error(arguments: Sequence[str], code: int, kind: str, message: str) -> int:
    if "--json" in arguments:
        print_json(error_fields(kind, message, None, resumable=False))
    return code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="scenario-uploader")
def cli() -> None:
    """Upload large files to the Scenario API.

    Credentials come from SCENARIO_SDK_API_KEY and SCENARIO_SDK_API_SECRET (or SCENARIO_SDK_JWT), the API's
    address from SCENARIO_BASE_URL where it is not the public one.
    """


def _shared(command: F) -> F:
    """The options of every command that talks to the API."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="Show nothing but errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
        click.option("--timeout", type=float, metavar="SECONDS", help="Give up on a file after this long."),
        click.option("--project-id", help="The project that owns the upload."),
    ):
        command = option(command)
    return command


@cli.command(short_help="Upload files, and wait until they are validated.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--kind", help="3d, asset, audio, avatar, image, model, text or video.  [default: by extension]"
)
@click.option("--content-type", help="The MIME type.  [default: by extension]")
@click.option(
    "--part-size", type=size, metavar="SIZE", help="Bytes of a part, 5MiB to 5GiB.  [default: 16MiB or more]"
)
@click.option(
    "--concurrency",
    type=concurrency,
    metavar="auto|N",
    default="auto",
    show_default=True,
    help="Parts at once, up to 64.",
)
@click.option(
    "--wait-for",
    type=click.Choice(["validated", "imported", "none"]),
    default="validated",
    show_default=True,
    help="Which status to wait for.",
)
@click.option(
    "--verify",
    type=click.Choice(["md5", "none"]),
    default="md5",
    show_default=True,
    help="Compare each part's MD5 with the store's ETag.",
)
@_shared
def upload(files: tuple[str, ...], project_id: str | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Upload files one after the other, and wait until the service has validated each.

    All are checked before anything is sent.
    """
    if options["wait_for"] == "none":
        options["wait_for"] = None
    report = Report(as_json=as_json, quiet=quiet, several=len(files) > 1)
    with report.attempt(), Uploader(project_id=project_id) as uploader:
        given = cast(UploadOptions, options)
        jobs = [uploader.prepare(file, **given) for file in files]
        for job in jobs:
            with report.attempt(job.file_name):
                with report.listening(job.file_name, job.plan.file_size) as listener:
                    result = uploader.run(job, progress=listener)
                report.done(result)
            if report.stopped:
                break
    return report.close()


@cli.command()
@click.argument("upload_id")
@click.option(
    "--wait-for",
    type=click.Choice(["validated", "imported"]),
    default="validated",
    show_default=True,
    help="Which status to wait for.",
)
@_shared
def wait(
    upload_id: str,
    wait_for: WaitFor,
    timeout: float | None,
    project_id: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Wait for the verdict on an upload that was sent."""
    report = Report(as_json=as_json, quiet=quiet)
    with report.attempt(), Uploader(project_id=project_id) as uploader:
        report.waiting_for(upload_id)
        with report.listening(upload_id, None) as listener:
            result = uploader.wait(upload_id, wait_for=wait_for, timeout=timeout, progress=listener)
        report.done(result)
    return report.close()


@cli.command(short_help="Run the embedded service until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", default=8123, show_default=True, help="0 takes a free one.")
@click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), help="Where to keep state."
)
@click.option("--ttl", default=3600.0, show_default=True, metavar="SECONDS", help="How long a URL holds.")
@click.option(
    "--fault", "faults", multiple=True, metavar="SPEC", help="Go wrong, as 503:part=3 or drop:part=5:at=50%."
)
@click.option("--no-resign", is_flag=True, help="Do not hand out fresh URLs for a pending upload.")
def serve(
    host: str, port: int, directory: Path | None, ttl: float, faults: tuple[str, ...], no_resign: bool
) -> int:
    """Run the embedded Scenario-compatible service until Ctrl-C."""
    local = _local()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        serving = local.serve(directory, host=host, port=port, ttl=ttl, resign=not no_resign, faults=faults)
        with serving as service:
            click.echo(f"# serving {service.base_url}; use it with")
            for line in _environment_lines(service.environment):
                click.echo(line)
            sys.stdout.flush()
            while not stop.wait(0.5):  # a wait without end cannot be interrupted on Windows
                pass
    except (ValueError, OSError) as error:
        say(error.strerror or str(error) if isinstance(error, OSError) else str(error))
        return USAGE
    return DONE


def _environment_lines(environment: Mapping[str, str]) -> Iterator[str]:
    """What to type into this system's shell."""
    windows = sys.platform == "win32"
    for name, value in environment.items():
        yield f'$env:{name}="{value}"' if windows else f"export {name}={value}"
    if os.environ.get(JWT_VARIABLE):  # it would win
        yield f"Remove-Item Env:{JWT_VARIABLE}" if windows else f"unset {JWT_VARIABLE}"


@cli.command(short_help="Upload to a service that goes wrong three times.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def demo(file: Path | None) -> int:
    """Upload FILE, or 256 MiB made for it, to an embedded service that goes wrong three times."""
    _local()
    from uploader.demo import run

    report = Report()
    with report.attempt():
        run(file)
    return report.close()


def _local() -> Any:
    """The embedded service, an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from uploader import local
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the embedded service is not installed ({error.name}): pip install 'scenario-uploader[local]'"
        ) from None
    return local
