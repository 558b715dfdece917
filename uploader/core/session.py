"""UploadSession: one file's way from create to the service's verdict. It decides all and does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from uploader.core.calls import Call
from uploader.core.completion import ACCEPTED, Completion, is_past_complete, may_have_worked
from uploader.core.concurrency import make_window
from uploader.core.events import (
    AbortPut,
    AbortPuts,
    CallDone,
    CallFailed,
    PartEnded,
    PartRetrying,
    PartStored,
    Phase,
    Put,
    Recreating,
    Sampled,
    UploadCreated,
    UploadResumed,
    UrlsRefreshed,
)
from uploader.core.links import check_links, offered_links
from uploader.core.outage import Streak
from uploader.core.outcomes import (
    Break,
    Cause,
    Done,
    Fail,
    Gone,
    NewUrl,
    PartVerdict,
    Retry,
    SourceBad,
    judge_part,
)
from uploader.core.parts import Flight, Parts
from uploader.core.plan import Plan
from uploader.core.policy import PUBLIC, StoragePolicy
from uploader.core.retry import Random, RetryBudget, is_spent, pause
from uploader.core.scrub import scrub
from uploader.core.stragglers import Stragglers
from uploader.core.waiting import Session
from uploader.errors import (
    AnswerError,
    NotFoundError,
    PartError,
    SourceChangedError,
    SourceError,
    UploadConflictError,
    UploaderError,
)
from uploader.models import Status, Upload, UploadResult
from uploader.options import Concurrency, RetryPolicy, WaitFor

# A link refused as expired this soon after it was handed out was never any good; later, it simply ran out.
FRESH = 30.0

# Signatures are dated in whole seconds (AWS' X-Amz-Date): a service that signs twice within one makes the
# same URL twice, which is no refusal to make another. And a second for signers whose clocks differ.
SIGNED_IN = 2.0


@dataclass(frozen=True, slots=True)
class Resumed:
    """What an earlier run left: the upload's id, and the part numbers the store acknowledged."""

    upload_id: str
    stored: frozenset[int]


class UploadSession(Session):
    """Sends every part of `plan`, completes, and waits for the verdict.

    It never completes before every part was acknowledged, and never has a part in flight twice.

    Args:
        plan: how the file is split.
        file_name: its name, for the result.
        concurrency: the most parts in flight, or "auto" to find out how many fill the link.
        policy: how failures are outlasted.
        budget: the retries this session may make, perhaps shared with others.
        random: numbers in [0, 1) for jitter.
        wait_for: which status ends it; None ends it when complete was accepted.
        timeout: seconds it may take; None sends as long as it goes on, and waits for the verdict for the
            policy's `wait_limit`.
        storage: where parts may be sent.
        resumed: the upload to go on with; None starts a new one.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        file_name: str,
        concurrency: Concurrency,
        policy: RetryPolicy,
        budget: RetryBudget,
        random: Random,
        wait_for: WaitFor | None = "validated",
        timeout: float | None = None,
        storage: StoragePolicy = PUBLIC,
        resumed: Resumed | None = None,
    ) -> None:
        super().__init__(policy=policy, random=random, wait_for=wait_for, timeout=timeout)
        self.plan = plan
        self._file_name = file_name
        self._budget = budget
        self._storage = storage
        self._window = make_window(concurrency, plan.part_size)
        self._resumed = resumed
        self._parts = Parts(plan.count, resumed.stored if resumed else ())
        self._stragglers = Stragglers()
        self._puts = 0
        self._bytes_sent = 0
        self._bytes_resumed = 0
        self._retries = 0
        self._url_refreshes = 0
        self._streak = Streak()
        self._completion = Completion(policy, random)
        self._gone = ""
        self._asked_at = 0.0  # when the last control call was
        self._starting_over = False
        self._recreated = False
        self._chances = 1  # to start over

    @property
    def wake(self) -> float | None:
        """When it wants to be told of a Tick at the latest."""
        times = [super().wake]
        if self.phase is Phase.SENDING and self._may_fill:
            due = self._parts.next_rested
            times.append(None if due is None else max(due, self._budget.ready_at))
        return min((at for at in times if at is not None), default=None)

    # Creating

    def _begin(self) -> None:
        if self._resumed is None:
            self._create(first=True)
        else:
            self.upload_id = self._resumed.upload_id
            self._enter(Phase.RESUMING)
            self._ask(Call.GET, first=True)

    def _create(self, *, first: bool = False) -> None:
        self.upload_id, self._completion = None, Completion(self._policy, self._random)
        self._enter(Phase.CREATING)
        self._ask(Call.CREATE, first=first)

    def _created(self, upload: Upload, server_time: float) -> None:
        links = check_links(upload, self.plan.count, policy=self._storage)
        self._starting_over = False
        self.upload_id = upload.id
        self._parts.grant(links, self._now, server_time)
        self._tell(UploadCreated(upload.id, self.plan.file_size, self.plan.count, self.plan.part_size))
        self._enter(Phase.SENDING)

    def _start_over(self, reason: str) -> None:
        """Create the upload anew, once; every part is sent again."""
        if not self._chances:
            raise AnswerError(f"{reason}, again after the upload was started over once")
        self._chances -= 1
        self._next_ask = None
        self._recreated = self._starting_over = True
        self._tell(Recreating(self.upload_id or "", reason))
        if self._parts.in_flight:
            self._tell(AbortPuts())

    # Resuming

    def _take_up(self, upload: Upload, server_time: float) -> None:
        """The first look at the upload of an earlier run."""
        if self._parts.all_stored:
            self._resume()
            self._completion.inherit()  # what is pending may be so by an older word
            if is_past_complete(upload):
                self._completed(upload)  # the earlier run got as far as that
        elif upload.status == Status.FAILED:
            said = scrub(upload.error_message or "")
            self._leave(f"the service gave it up before every part was sent{': ' * bool(said)}{said}")
        elif upload.status in ACCEPTED:
            self._leave(f"it is {upload.status}, but not every part is known to have been sent")
        else:
            links = offered_links(upload, self._parts.missing(), policy=self._storage)
            if len(links) < sum(1 for _ in self._parts.missing()):
                self._leave("the service hands out no links for the parts that are missing")
                return
            self._parts.grant(links, self._now, server_time)
            self._resume()

    def _resume(self) -> None:
        plan, stored = self.plan, self._resumed.stored if self._resumed else frozenset[int]()
        self._bytes_resumed = plan.size_of(len(stored), with_last=plan.count in stored)
        self._tell(
            UploadResumed(
                self.upload_id or "",
                plan.file_size,
                plan.count,
                plan.part_size,
                len(stored),
                self._bytes_resumed,
            )
        )
        self._enter(Phase.SENDING)

    def _leave(self, reason: str) -> None:
        """The upload of an earlier run is of no use: start over, not counted as this run's one time."""
        self._chances += 1
        self._start_over(f"the interrupted upload cannot be gone on with: {reason}")

    # Control calls

    def _call_done(self, done: CallDone) -> None:
        if done.call is Call.CREATE:
            self._created(done.upload, done.server_time)
        elif self.phase is Phase.RESUMING:
            self._take_up(done.upload, done.server_time)
        elif done.call is Call.COMPLETE:
            self._completed(done.upload)
        elif self.phase is Phase.SENDING:
            self._looked(done.upload, done.server_time)
        elif self.phase is Phase.COMPLETING and not is_past_complete(done.upload):
            self._complete_again(done.upload)
        else:
            self._watch(done.upload)

    def _call_failed(self, failed: CallFailed) -> None:
        if isinstance(failed.error, NotFoundError) and self.phase is Phase.RESUMING:
            self._leave("the service no longer knows it")
        elif isinstance(failed.error, NotFoundError) and self.phase in (Phase.SENDING, Phase.COMPLETING):
            self._start_over("the service no longer knows the upload")
        elif failed.call is Call.COMPLETE and may_have_worked(failed.error):
            self._completion.doubt(failed.error)
            self._ask(Call.GET)
        else:
            if failed.call is Call.COMPLETE:
                self._completion.refuse()
            raise failed.error

    def _look_again(self, failed: CallFailed) -> None:
        if failed.call is Call.COMPLETE:
            self._completion.doubt(failed.error)
            self._completion.refuse()
        super()._look_again(failed)

    def _advance(self) -> None:
        if not self._starting_over:
            super()._advance()
        if self.phase is Phase.SENDING or self._starting_over:
            self._send()

    # Sending

    @property
    def _may_fill(self) -> bool:
        if self._starting_over or self._parts.must_have_url:
            return False  # most likely no link would be taken: wait for the service's word
        if self._streak.is_total(self._window.size):
            return not self._parts.in_flight  # all of them failed, and again: one will tell when it is over
        return len(self._parts.in_flight) < self._window.size

    @property
    def _may_try_fresh(self) -> bool:
        """Whether parts that never failed are tried. Some part always is, or nothing would happen again."""
        return not self._is_outage or not self._parts.any_under_way

    @property
    def _is_outage(self) -> bool:
        return self._streak.is_outage(self._window.size, self._parts.left)

    def _send(self) -> None:
        if self._starting_over:
            if not self._parts.in_flight and self._asked is None:
                self._parts.start_over()
                self._streak.forget()
                self._gone, self._bytes_resumed = "", 0
                self._create()
            return
        if self._parts.all_stored:
            self._complete()
            return
        self._fill()
        if self._parts.blocked and self._asked is None and self._next_ask is None:
            self._ask(Call.GET)

    def _fill(self) -> None:
        while self._may_fill:
            number = self._next()
            if number is None:
                return
            if self._parts.wants_url(number, self._now):
                self._parts.block(number)
            else:
                self._put(number)

    def _next(self) -> int | None:
        """The part to send next; while nothing gets through, only one that failed before."""
        rested = self._parts.is_due(self._now) and self._budget.take(self._now)
        return self._parts.next_ready(self._now, fresh=self._may_try_fresh, rested=rested)

    def _put(self, number: int) -> None:
        self._puts += 1
        attempt = self._parts.depart(number, self._now)
        self._stragglers.depart(attempt, number, self._now)
        self._tell(Put(attempt, self.plan.part(number), self._parts.held(number).url))

    def _part_ended(self, ended: PartEnded) -> None:
        flight = self._parts.land(ended.attempt)
        still = self._stragglers.land(ended.attempt)
        self._bytes_sent += ended.sent
        if self._starting_over:
            return  # nothing of the old upload counts any more
        verdict = self._judge(flight, ended)
        if still is not None and isinstance(verdict, Retry) and verdict.cause is Cause.NETWORK:
            self._send_again(flight, still)
        else:
            self._act_on(verdict, flight, ended)

    def _act_on(self, verdict: PartVerdict, flight: Flight, ended: PartEnded) -> None:
        match verdict:
            case Done():
                self._stored(flight, ended, verdict)
            case Retry():
                self._retry(flight, ended, verdict)
            case NewUrl():
                self._renew_url(flight, ended, verdict)
            case Gone():
                self._gone = verdict.detail
                self._parts.block(flight.number, verdict.detail)
            case SourceBad():
                raise self._source_error(flight.number, verdict)
            case Fail():
                raise self._part_error(flight.number, verdict.detail, final=verdict.final)

    def _judge(self, flight: Flight, ended: PartEnded) -> PartVerdict:
        verdict = judge_part(ended.answer, ended.md5)
        if isinstance(verdict, Done) and ended.sent < self.plan.part(flight.number).length:
            # No store can have what was not sent, whatever it answers.
            return Retry(Cause.NETWORK, "the store answered before it had the whole part")
        return verdict

    def _stored(self, flight: Flight, ended: PartEnded, done: Done) -> None:
        self._streak.succeed(self._now, outage=self._is_outage)
        aborted = self._stragglers.store(flight.number, ended.seconds)
        if self._parts.store(flight.number) or aborted:
            self._budget.give_back()
        part = self.plan.part(flight.number)
        others = [other.started for other in self._parts.in_flight.values()]
        self._window.stored(self._now, part.length, flight.started, others)
        self._tell(PartStored(part, done.etag, ended.md5, ended.seconds))

    def _sampled(self, sampled: Sampled) -> None:
        self._stragglers.hear(sampled.sent, self._now, sampled.reading)
        if self._starting_over:
            return  # all of them are being ended
        for attempt in self._stragglers.overdue(self._now, self._parts.left):
            if not self._budget.take(self._now):
                return
            self._stragglers.abort(attempt, self._now)
            self._tell(AbortPut(attempt))

    def _send_again(self, flight: Flight, still: float) -> None:
        """A straggler is gone: it paid for another attempt when it was aborted, and did not fail."""
        self._parts.ready_again([flight.number])
        said = f"it stood still for {still:.1f} s, longer than other parts take"
        self._tell_retry(flight.number, Cause.STRAGGLER, said, 0.0)

    def _retry(self, flight: Flight, ended: PartEnded, retry: Retry) -> None:
        history = self._parts.history(flight.number)
        if retry.limit:
            self._strike(flight.number, retry)
        self._streak.fail(self._now)
        failures = history.failed(ended.sent)
        since = self._streak.counted_from(outage=self._is_outage)
        if is_spent(self._policy, failures, self._now - since):
            advice = f": {retry.advice}" if retry.advice else ""
            said = f"{retry.detail}; gave up after {failures} attempts{advice}"
            raise self._part_error(flight.number, said)
        if retry.slow_down:
            self._window.throttled(self._now)
        elif retry.cause is Cause.SHORTAGE:
            self._window.short(self._now, len(self._parts.in_flight))
        elif retry.cause is Cause.NETWORK:
            self._window.broke(self._now)
        # A store that refuses a link early and closes can look like a broken connection: after two in a row,
        # four, eight, try another. Not every time: a store's outage is not to become the service's.
        history.breaks = history.breaks + 1 if retry.cause is Cause.NETWORK else 0
        if history.breaks > 1 and history.breaks.bit_count() == 1:
            self._parts.distrust(flight.number)
        delay = pause(self._policy, failures, retry.after, self._random)
        self._parts.rest(flight.number, self._now + delay)
        self._tell_retry(flight.number, retry.cause, retry.detail, delay)

    def _renew_url(self, flight: Flight, ended: PartEnded, refusal: NewUrl) -> None:
        if flight.held.generation == self._parts.held(flight.number).generation:
            # When it began: a part may have waited long for a worker.
            began = self._now - ended.seconds
            ran_out = refusal.cause is Cause.EXPIRED and began - flight.held.granted > FRESH
            if not ran_out:
                self._strike(flight.number, refusal)
            self._parts.block(flight.number, refusal.detail)
        else:
            self._parts.ready_again([flight.number])  # a newer link came meanwhile: try that
        self._tell_retry(flight.number, refusal.cause, refusal.detail, 0.0)

    def _strike(self, number: int, verdict: Retry | NewUrl) -> None:
        """Count a cause that is final when it strikes the same part too often."""
        if self._parts.history(number).strike(verdict.cause) >= verdict.limit:
            raise self._part_error(number, f"{verdict.detail}, {verdict.limit} times: {verdict.advice}")

    def _tell_retry(self, number: int, cause: Cause, detail: str, delay: float) -> None:
        self._retries += 1
        self._tell(PartRetrying(self.plan.part(number), cause, detail, delay))

    def _looked(self, upload: Upload, server_time: float) -> None:
        """The answer to a GET while sending: fresh links, or news of the upload's end."""
        if upload.status == Status.FAILED:
            self._watch(upload)
        elif upload.status in ACCEPTED:
            raise UploadConflictError(
                f"the service says {upload.status} before every part was sent: something else completed it"
            )
        elif self._gone:
            self._start_over(f"the store no longer knows the upload ({self._gone})")
        else:
            self._take_links(upload, server_time)

    def _take_links(self, upload: Upload, server_time: float) -> None:
        offered = offered_links(upload, self._parts.missing(), policy=self._storage)
        renewed = self._parts.renew(offered, self._now, server_time)
        if renewed:
            self._url_refreshes += 1
            self._tell(UrlsRefreshed(renewed))
        if self._parts.must_have_url and not self._ask_later():
            refusal = next(iter(self._parts.blocked.values()))
            self._start_over(f"the service gives no fresh link after a refusal: {refusal}")

    def _ask_later(self) -> bool:
        """Whether the service could not have made the URLs yet that are still needed: then ask once more."""
        another = max(self._parts.held(number).granted for number in self._parts.blocked) + SIGNED_IN
        if self._asked_at >= another:
            return False
        self._next_ask = (another, Call.GET)
        return True

    # Completing

    def _complete(self) -> None:
        self._enter(Phase.COMPLETING)
        self._completion.begin(self._now)
        self._ask(Call.COMPLETE)

    def _completed(self, upload: Upload) -> None:
        if self._wait_for is None and upload.status != Status.FAILED:
            self._done(upload)
        else:
            self._watch(upload)

    def _complete_again(self, upload: Upload) -> None:
        """A complete call's fate is unknown, and the service's status does not tell either."""
        again = self._completion.after(upload, self._now, watched=self._wait_for is not None)
        if again is None:
            self._watch(upload)
        else:
            self._next_ask = again

    # The end

    @property
    def _all_there(self) -> bool:
        return super()._all_there or (self.phase is Phase.COMPLETING and self._completion.in_doubt)

    def _ask(self, call: Call, *, first: bool = False) -> None:
        if call is Call.COMPLETE:
            self._completion.ask()
        self._asked_at = self._now
        super()._ask(call, first=first)

    def _finish(self, upload: Upload) -> UploadResult:
        return UploadResult(
            upload_id=upload.id,
            status=upload.status,
            entity_id=upload.entity_id,
            file_name=self._file_name,
            file_size=self.plan.file_size,
            parts=self.plan.count,
            bytes_sent=self._bytes_sent,
            bytes_resumed=self._bytes_resumed,
            retries=self._retries,
            url_refreshes=self._url_refreshes,
            recreated=self._recreated,
            elapsed_seconds=self._now - self._started,
        )

    def _fail(self, error: UploaderError) -> None:
        error.nothing_sent = self._puts == 0 and self._resumed is None
        super()._fail(error)

    def _part_error(self, number: int, said: str, *, final: bool = False) -> PartError:
        said = f"part {number} of {self.plan.count}: {said}"
        return PartError(said, part=number, final=final)

    def _source_error(self, number: int, bad: SourceBad) -> UploaderError:
        if bad.kind is Break.UNREADABLE:
            return SourceError(f"part {number} could not be read: {bad.detail}")
        return SourceChangedError(
            f"{bad.detail}: the upload was not completed; when the file is at rest, uploading it again starts"
            " anew"
        )
