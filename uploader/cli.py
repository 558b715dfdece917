"""The command: parse, show, exit codes.

Exit codes: 0 done, 1 failed for good, 2 bad usage or input and nothing sent, 3 stopped but resumable,
130 Ctrl-C, 143 SIGTERM.
With `--json` stdout carries one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from uploader.observe.stops import STOPS, Terminated
from uploader.parameters import age, concurrency, listed, sending, size, talking
from uploader.saying import (
    DONE,
    FAILED,
    INTERRUPTED,
    TERMINATED,
    USAGE,
    error_fields,
    give_up_stdout,
    print_json,
    say,
)
from uploader.version import __version__


def main(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`; the exit code."""
    _fit_streams()
    try:
        with STOPS.heeded():
            return int(cli.main(list(arguments), prog_name="uploader", standalone_mode=False) or DONE)
    except click.ClickException as error:
        if sys.stderr is not None:
            error.show(sys.stderr)
        return _json_error(arguments, USAGE, "UsageError", error.format_message())
    except Terminated:
        return TERMINATED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a defect; what a user gets of it is one line
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC) and not error.filename:
            give_up_stdout(error)  # the help cannot be shown: all else is told by `tell`
            return FAILED
        say(f"unexpected {type(error).__name__}: {error}; this is a fault of the uploader, please report it")
        return _json_error(arguments, FAILED, type(error).__name__, str(error))


def _fit_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not fit the terminal's encoding


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
def upload(**given: Any) -> int:
    """Upload files, and wait until the service has validated each.

    All are checked before anything is sent. Those of one part are sent several at once, before the others.
    Where an upload of a file was interrupted, it is gone on with: only what the store did not acknowledge is
    sent.
    """
    from uploader import commands

    return commands.upload(**given)


@cli.command(short_help="Go on with uploads that were interrupted.")
@click.argument("which", nargs=-1, metavar="[UPLOAD_ID|FILE]...")
@sending
@talking
def resume(**given: Any) -> int:
    """Go on with interrupted uploads: those named, or all that `uploader list` shows for this API."""
    from uploader import commands

    return commands.resume(**given)


@cli.command("list", short_help="Show uploads that are not done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def list_(as_json: bool) -> int:
    """Show the uploads that are not done, of every API and project this machine uploaded to."""
    from uploader import commands

    return commands.list_(as_json=as_json)


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
    from uploader import commands

    return commands.forget(which, older_than=older_than)


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
def wait(**given: Any) -> int:
    """Wait for the verdict on an upload that was sent."""
    from uploader import commands

    return commands.wait(**given)


@cli.command(short_help="Run the embedded service until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8123, show_default=True, help="0 takes a free one."
)
@click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), help="Where to keep state."
)
@click.option("--ttl", default=3600.0, show_default=True, metavar="SECONDS", help="How long a URL holds.")
@click.option(
    "--fault", "faults", multiple=True, metavar="SPEC", help="Go wrong, as 503:part=3 or drop:part=5:at=50%."
)
@click.option("--no-resign", is_flag=True, help="Do not hand out fresh URLs for a pending upload.")
@click.option("--rate", type=size, metavar="SIZE", help="Take in at most so many bytes per second.")
@click.option(
    "--abandon-after",
    type=age,
    metavar="AGE",
    default="7d",
    show_default=True,
    help="Drop a pending upload so long after its newest URLs have ended.",
)
@click.option("--s3-endpoint", metavar="URL", help="Keep parts and objects in the S3 store there.")
@click.option("--s3-bucket", metavar="NAME", help="The bucket there.")
def serve(**given: Any) -> int:
    """Run the embedded Scenario-compatible service until Ctrl-C.

    Parts and objects are kept in --dir, or with --s3-endpoint and --s3-bucket in a bucket of an S3-compatible
    store, with the credentials that boto3 finds: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.

    UPLOADER_SERVE_SECRET is the API secret to ask for, instead of one that is known to all.
    """
    if (given["s3_endpoint"] is None) != (given["s3_bucket"] is None):
        raise click.UsageError("--s3-endpoint and --s3-bucket go together")
    from uploader import commands

    return commands.serve(**given)


@cli.command(short_help="Upload to a service that goes wrong three times.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def demo(file: Path | None) -> int:
    """Upload FILE, or 256 MiB made for it, to an embedded service that goes wrong three times."""
    from uploader import commands

    return commands.demo(file)


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
    from uploader import commands

    return commands.bench(**options)
