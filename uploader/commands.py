"""What the command does, once its arguments are read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import click

from uploader.batch import Item, small_ones, upload_small
from uploader.client import Uploader
from uploader.cluster import dask_executor
from uploader.errors import StateError
from uploader.io.journal import Target
from uploader.io.state import state_directory
from uploader.job import Job
from uploader.models import PendingState, PendingUpload
from uploader.observe.attempt import Attempt
from uploader.observe.report import Report
from uploader.observe.stops import STOPS
from uploader.observe.table import table
from uploader.options import ResumeOptions, UploadOptions, WaitFor
from uploader.pending import forget as forget_upload
from uploader.pending import pending_uploads
from uploader.saying import DONE, print_json, say, tell

_UNFINISHED = (PendingState.INTERRUPTED, PendingState.STOPPED, PendingState.MISSING)
_ABANDONED = (PendingState.FAILED, PendingState.GONE)


def upload(
    files: Sequence[str],
    *,
    project_id: str | None,
    dask: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Upload files: the small ones several at once, then the others one after the other."""
    options["resume"] = not options.pop("no_resume")
    report = Report(as_json=as_json, quiet=quiet, several=len(files) > 1)
    with report.attempt(), STOPS.armed(), ExitStack() as stack:
        here = stack.enter_context(Uploader(project_id=project_id))
        looks = [partial(here.prepare, file, **cast(UploadOptions, _plain(options))) for file in files]
        with STOPS.deferred():  # until one of them is tried: what came of another is told whole
            items = _once_each(report, _look_at(report, files, looks))
            attempts = [item.attempt for item in items]
            uploader = _on_cluster(report, attempts, stack, project_id, dask) if items and dask else here
            if uploader:
                _upload_all(report, uploader, items)
    return report.close()


def _look_at(report: Report, files: Sequence[str], looks: Sequence[Callable[[], Job]]) -> list[Item]:
    """All files, before anything is sent; none if one of them cannot be used."""
    attempts = [report.begin(os.path.basename(file) or file) for file in files]
    items: list[Item] = []
    for attempt, look in zip(attempts, looks, strict=True):
        with report.attempt(attempt), STOPS.armed():
            items.append(Item(attempt, look(), look))
            continue
        report.not_begun([other for other in attempts if other is not attempt])
        return []
    return items


def _once_each(report: Report, items: Sequence[Item]) -> list[Item]:
    """Without those that are another again: repeated, or in two globs. A link has a name of its own."""
    first: dict[Target, Item] = {}
    again: dict[Attempt, Attempt] = {}
    for item in items:
        same = first.setdefault(item.job.target, item)
        if same is not item:
            again[item.attempt] = same.attempt
    report.named_again(again)
    return list(first.values())


def _on_cluster(
    report: Report, attempts: Sequence[Attempt], stack: ExitStack, project_id: str | None, dask: str
) -> Uploader | None:
    """Sends parts from the workers of a Dask scheduler; None if that does not answer."""
    with report.attempt(attempts[0]), STOPS.armed():
        executor = stack.enter_context(dask_executor(dask))
        return stack.enter_context(Uploader(project_id=project_id, executor=executor))
    report.not_begun(attempts[1:])
    return None


def _upload_all(report: Report, uploader: Uploader, items: Sequence[Item]) -> None:
    small = small_ones(items)
    at_once = {item.attempt.number for item in small}
    others = [item for item in items if item.attempt.number not in at_once]
    left = [item.attempt for item in upload_small(report, uploader, small)] if small else []
    _in_turn(report, [(item.attempt, uploader, item.again) for item in others], left)


def resume(
    which: Sequence[str],
    *,
    project_id: str | None,
    dask: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Go on with interrupted uploads: those named, or all."""
    report = Report(as_json=as_json, quiet=quiet, several=len(which) != 1)
    with report.attempt(), STOPS.armed(), ExitStack() as stack:
        uploader = stack.enter_context(Uploader(project_id=project_id))
        chosen = _choose(which, base_url=uploader.base_url, project_id=project_id)
        report.several = len(which) != 1 or len(chosen) != 1
        executor = stack.enter_context(dask_executor(dask)) if dask and chosen else None
        uploaders = {
            owner: stack.enter_context(Uploader(project_id=owner, executor=executor))
            for owner in {pending.project_id for pending in chosen}
        }
        with STOPS.deferred():
            _resume_all(report, uploaders, chosen, cast(ResumeOptions, _plain(options)))
        if not chosen:
            say(_nothing(uploader.base_url))
    return report.close()


def _resume_all(
    report: Report,
    uploaders: Mapping[str | None, Uploader],
    chosen: Sequence[PendingUpload],
    given: ResumeOptions,
) -> None:
    turns = []
    for pending in chosen:
        uploader = uploaders[pending.project_id]
        look = partial(uploader.prepare_resume, pending.upload_id, **given)
        turns.append((report.begin(pending.file_name), uploader, look))
    _in_turn(report, turns)


def _in_turn(
    report: Report,
    turns: Sequence[tuple[Attempt, Uploader, Callable[[], Job]]],
    left: Sequence[Attempt] = (),
) -> None:
    """One upload after the other, each looked at when it is its turn; `left` was not begun before them."""
    waiting = deque(turns)
    while waiting and not report.stopped:
        attempt, uploader, look = waiting.popleft()
        with report.attempt(attempt), STOPS.armed():
            _run(report, attempt, uploader, look())
    if report.stopped:
        report.not_begun([*left, *(attempt for attempt, *_ in waiting)])


def _run(report: Report, attempt: Attempt, uploader: Uploader, job: Job) -> None:
    """One upload of perhaps several."""
    with report.listening(attempt, job.file_name, job.plan.file_size) as listener:
        result = uploader.run(job, progress=listener)
    report.done(attempt, result)


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
    chosen: dict[tuple[str, str | None, str], PendingUpload] = {}
    for name in which:
        path = os.path.realpath(name)
        found = [it for it in here if name == it.upload_id]
        found = found or [it for it in here if path == it.path and it.state not in _ABANDONED]
        if not found:
            elsewhere = next((it for it in known if name == it.upload_id or path == it.path), None)
            raise StateError(
                f"nothing is known of an unfinished upload {name}{_where(elsewhere)}: see uploader list"
            )
        chosen |= {(it.base_url, it.project_id, it.upload_id): it for it in found}
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


def list_(*, as_json: bool) -> int:
    """Show the uploads that are not done."""
    report = Report(as_json=as_json)
    with report.attempt(), STOPS.armed():
        uploads = pending_uploads(state_directory(os.environ))
        if as_json:
            print_json({"uploads": [pending.model_dump(mode="json") for pending in uploads]})
            return DONE
        for line in table(uploads) if uploads else ():
            tell(line)
        if not uploads:
            say("no upload is unfinished")
    return report.close()


def forget(which: Sequence[str], *, older_than: timedelta | None) -> int:
    """Forget unfinished uploads: those named, or all but what is being uploaded right now."""
    report = Report()
    with report.attempt(), STOPS.armed():
        directory = state_directory(os.environ)
        chosen = _choose(which) if which else pending_uploads(directory)
        now, forgotten, running = datetime.now(UTC), 0, 0
        for pending in chosen:
            if older_than is not None and now - pending.updated_at < older_than:
                continue
            if pending.state is PendingState.RUNNING and not which:
                running += 1
                continue
            named = report.begin(pending.file_name)
            with report.attempt(named), STOPS.armed(), suppress(*([] if which else [StateError])):
                # Of all, one may be done meanwhile.
                forget_upload(directory, pending.upload_id, pending.base_url, pending.project_id)
                say(f"forgot {pending.upload_id}, {pending.path}")
                forgotten += 1
        if not forgotten:
            say("nothing was forgotten")
        if running:
            say(f"{running} {'is' if running == 1 else 'are'} being uploaded right now: left alone")
    return report.close()


def wait(
    upload_id: str,
    *,
    wait_for: WaitFor,
    timeout: float | None,
    project_id: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Wait for the verdict on an upload that was sent."""
    report = Report(as_json=as_json, quiet=quiet)
    with report.attempt() as attempt, STOPS.armed(), Uploader(project_id=project_id) as uploader:
        attempt.waits_for(upload_id)
        with report.listening(attempt, upload_id, None) as listener:
            result = uploader.wait(upload_id, wait_for=wait_for, timeout=timeout, progress=listener)
        report.done(attempt, result)
    return report.close()


def serve(**options: Any) -> int:
    """Run the embedded service until it is told to stop."""
    _local()
    from uploader.serving import run

    return run(**options)


def demo(file: Path | None) -> int:
    """Upload to an embedded service that goes wrong."""
    _local()
    from uploader.demo import run

    report = Report()
    with report.attempt(), STOPS.armed():
        run(file)
    return report.close()


def bench(**options: Any) -> int:
    """Find the setting that fills the link."""
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
