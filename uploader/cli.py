"""The command: parse, show, exit codes.

Exit codes: 0 done, 1 failed for good, 2 bad usage or input and nothing sent, 3 stopped but resumable,
130 Ctrl-C, 143 SIGTERM.
With `--json` stdout carries one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click

from uploader.client import Uploader
from uploader.errors import StateError
from uploader.io.state import state_directory
from uploader.job import Job
from uploader.models import PendingState, PendingUpload
from uploader.observe.report import (
    DONE,
    FAILED,
    INTERRUPTED,
    TERMINATED,
    USAGE,
    Report,
    error_fields,
    print_json,
    say,
)
from uploader.observe.stops import STOPS, Terminated
from uploader.observe.table import table
from uploader.options import JWT_VARIABLE, ResumeOptions, UploadOptions, WaitFor
from uploader.parameters import age, concurrency, listed, sending, size, talking
from uploader.pending import forget as forget_upload
from uploader.pending import pending_uploads
from uploader.version import __version__

_UNFINISHED = (PendingState.INTERRUPTED, PendingState.STOPPED, PendingState.MISSING)
_ABANDONED = (PendingState.FAILED, PendingState.GONE)


def main(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not fit the terminal's encoding
    try:
        with STOPS.heeded():
            return int(cli.main(list(arguments), prog_name="uploader", standalone_mode=False) or DONE)
    except click.ClickException as error:
        error.show(sys.stderr)
        return _json_error(arguments, USAGE, "UsageError", error.format_message())
    except Terminated:
        return TERMINATED
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


@cli.command(short_help="Upload files, and wait until they are validated.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--kind", help="3d, asset, audio, avatar, image, model, text or video.  [default: by extension]"
)
@click.option("--content-type", help="The MIME type.  [default: by extension]")
@click.option(
    "--part-size", type=size, metavar="SIZE", help="Bytes of a part, 5MiB to 5GiB.  [default: 16MiB or more]"
)
@click.option("--no-resume", is_flag=True, help="Start anew, and forget an interrupted upload of the file.")
@sending
@talking
def upload(files: tuple[str, ...], project_id: str | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Upload files one after the other, and wait until the service has validated each.

    All are checked before anything is sent. Where an upload of a file was interrupted, it is gone on with:
    only what the store did not acknowledge is sent.
    """
    options["resume"] = not options.pop("no_resume")
    report = Report(as_json=as_json, quiet=quiet, several=len(files) > 1)
    with report.attempt(), Uploader(project_id=project_id) as uploader:
        given = cast(UploadOptions, _plain(options))
        jobs = [uploader.prepare(file, **given) for file in files]
        for number, job in enumerate(jobs, 1):
            with report.attempt(job.file_name):
                _run(report, uploader, job)
            if report.stopped:
                report.not_begun([left.file_name for left in jobs[number:]])
                break
    return report.close()


@cli.command(short_help="Go on with uploads that were interrupted.")
@click.argument("which", nargs=-1, metavar="[UPLOAD_ID|FILE]...")
@sending
@talking
def resume(which: tuple[str, ...], project_id: str | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Go on with interrupted uploads: those named, or all that `uploader list` shows for this API."""
    report = Report(as_json=as_json, quiet=quiet, several=len(which) != 1)
    with report.attempt(), ExitStack() as stack:
        uploader = stack.enter_context(Uploader(project_id=project_id))
        chosen = _choose(which, base_url=uploader.base_url, project_id=project_id)
        report.several = len(which) != 1 or len(chosen) != 1
        uploaders = {project_id: uploader}
        for pending in chosen:
            if pending.project_id not in uploaders:
                other = Uploader(project_id=pending.project_id)
                uploaders[pending.project_id] = stack.enter_context(other)
            uploader = uploaders[pending.project_id]
            with report.attempt(pending.file_name):
                given = cast(ResumeOptions, _plain(options))
                _run(report, uploader, uploader.prepare_resume(pending.upload_id, **given))
            if report.stopped:
                break
        if not chosen:
            say(_nothing(uploader.base_url))
    return report.close()


def _run(report: Report, uploader: Uploader, job: Job) -> None:
    """One upload of perhaps several."""
    with report.listening(job.file_name, job.plan.file_size) as listener:
        result = uploader.run(job, progress=listener)
    report.done(result)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The command's options as Python's."""
    return options | {"wait_for": None if options["wait_for"] == "none" else options["wait_for"]}


def _choose(
    which: Sequence[str], *, base_url: str | None = None, project_id: str | None = None
) -> list[PendingUpload]:
    """The unfinished uploads that are meant: by id, by file, or all that can be gone on with.

    Raises:
        StateError: one is not known.
    """
    known = pending_uploads(state_directory(os.environ))
    here = [
        pending
        for pending in known
        if base_url in (None, pending.base_url) and project_id in (None, pending.project_id)
    ]
    if not which:
        return [pending for pending in here if pending.state in _UNFINISHED]
    chosen: dict[str, PendingUpload] = {}
    for name in which:
        path = os.path.realpath(name)
        found = [it for it in here if name == it.upload_id]
        found = found or [it for it in here if path == it.path and it.state not in _ABANDONED]
        if not found:
            elsewhere = next((it for it in known if name == it.upload_id or path == it.path), None)
            raise StateError(
                f"nothing is known of an unfinished upload {name}{_where(elsewhere)}: see uploader list"
            )
        chosen |= {it.upload_id: it for it in found}
    return list(chosen.values())


def _where(pending: PendingUpload | None) -> str:
    """Where an upload goes that does not go here."""
    if pending is None:
        return ""
    project = f"project {pending.project_id}" if pending.project_id else "no project"
    return f" here (it goes to {pending.base_url}, {project})"


def _nothing(base_url: str) -> str:
    """Why there is nothing to go on with."""
    known = pending_uploads(state_directory(os.environ))
    running = sum(it.state is PendingState.RUNNING for it in known)
    hint = f"; {running} running" if running else ""
    others = sum(it.base_url != base_url for it in known)
    hint += f"; {others} for another API (see uploader list and SCENARIO_BASE_URL)" if others else ""
    return f"there is nothing to go on with at {base_url}{hint}"


@cli.command("list", short_help="Show uploads that are not done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def list_(as_json: bool) -> int:
    """Show the uploads that are not done, of every API and project this machine uploaded to."""
    report = Report(as_json=as_json, several=True)
    with report.attempt():
        uploads = pending_uploads(state_directory(os.environ))
        if as_json:
            print_json({"uploads": [pending.model_dump(mode="json") for pending in uploads]})
            return DONE
        for line in table(uploads) if uploads else ():
            click.echo(line)
        if not uploads:
            say("no upload is unfinished")
    return report.close()


@cli.command(short_help="Forget uploads that are not done.")
@click.argument("which", nargs=-1, metavar="[UPLOAD_ID|FILE]...")
@click.option(
    "--older-than", type=age, metavar="AGE", help="Only what nothing came of for so long: 30d, 12h."
)
@click.option("--all", "everything", is_flag=True, help="All of them.")
def forget(which: tuple[str, ...], older_than: timedelta | None, everything: bool) -> int:
    """Forget unfinished uploads, so that they are not gone on with.

    What was sent of them stays with the service, which has no call to drop it.
    """
    if not (which or everything or older_than is not None):
        raise click.UsageError("say which, or --older-than AGE, or --all")
    if which and everything:
        raise click.UsageError("--all takes no names")
    report = Report()
    with report.attempt():
        directory = state_directory(os.environ)
        chosen = _choose(which) if which else pending_uploads(directory)
        now, forgotten = datetime.now(UTC), 0
        for pending in chosen:
            young = older_than is not None and now - pending.updated_at < older_than
            if young or (pending.state is PendingState.RUNNING and not which):
                continue
            with report.attempt(pending.file_name), suppress(*([] if which else [StateError])):
                forget_upload(directory, pending.upload_id)  # of all, one may be done meanwhile
                say(f"forgot {pending.upload_id}, {pending.path}")
                forgotten += 1
        if not forgotten:
            say("nothing was forgotten")
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
@talking
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
@click.option("--rate", type=size, metavar="SIZE", help="Take in at most so many bytes per second.")
def serve(
    host: str,
    port: int,
    directory: Path | None,
    ttl: float,
    faults: tuple[str, ...],
    no_resign: bool,
    rate: int | None,
) -> int:
    """Run the embedded Scenario-compatible service until Ctrl-C."""
    local = _local()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        serving = local.serve(
            directory, host=host, port=port, ttl=ttl, resign=not no_resign, faults=faults, rate=rate
        )
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


@cli.command(short_help="Find the concurrency and part size that fill this link.")
@click.option("--size", type=size, metavar="SIZE", default="256MiB", show_default=True, help="Of the file.")
@click.option(
    "--concurrency",
    type=listed(concurrency),
    metavar="auto|N,...",
    default="1,2,4,8,16,auto",
    show_default=True,
    help="Parts at once, each up to 64.",
)
@click.option(
    "--part-size",
    type=listed(size),
    metavar="SIZE,...",
    default="16MiB",
    show_default=True,
    help="Bytes of a part, each 5MiB to 5GiB.",
)
@click.option(
    "--repeat", type=int, metavar="N", help="Uploads with each setting.  [default: 1, with --local 3]"
)
@click.option("--local", is_flag=True, help="Upload to an embedded service: what this machine can do.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it there too: .png, .svg or .pdf.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--project-id", help="The project that owns the uploads.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def bench(**options: Any) -> int:
    """Upload random bytes with each concurrency and part size, and say which is best.

    Goodput is the file's bytes by the seconds from the first PUT to the last acknowledgement. The best is
    the smallest concurrency within 5% of the highest median. What is uploaded remains in the account, so
    it asks first.
    """
    if options["local"]:
        _local()
    from uploader.bench.command import run
    from uploader.bench.wanted import Wanted

    return run(Wanted(**options))


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
