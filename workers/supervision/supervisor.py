"""Supervises one stage: reads the agent, feeds the watch, carries out its end. Decides nothing itself but output.

The loop waits for the agent's streams, the inbox and the watch's next deadline at once, so that a limit is
carried out at its moment whether the agent is silent or floods its output.
"""

import os
import select
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.decision import Action, Decision
from orchestrator.domain.events import AgentEnded, EndReason, Event, OutputSeen
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.watch import Watch
from workers.agents.base import Launch, StreamReader
from workers.supervision.inbox import EndOrder, StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.process import Isolation, ShimEnd, ShimProcess, ShimReason
from workers.supervision.transcript import BoundedFile

# The adapters' session files are looked at this often; a clock that stood still in suspend is noticed as fast.
_POLL_SECONDS = 1.0
_CHUNK_BYTES = 65536
# Output beyond this multiple of what is kept ends the stage: nobody will read it, and parsing it costs CPU.
_FLOOD_FACTOR = 4
# After the end at most a full pipe is left to read: 64 KiB, or 1 MiB when the agent enlarged it.
_DRAIN_CHUNKS = 32
# A shim that has not ended its tree so long after the grace is itself killed, and given as long again.
_OBEY_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """How a stage ended.

    `outcome` is None when the agent ended by itself and nothing it did broke a limit, and when `compact` tells that
    its context was too full to go on in the same session. Times are boot times in seconds.
    `agent_ended.exit_code` is negative for a signal, as `subprocess` has it.
    """

    outcome: Outcome | None
    detail: str
    agent_ended: AgentEnded
    shim_end: ShimEnd
    started_at: float
    ended_at: float
    stderr_tail: str
    output_bytes: int
    truncated: bool
    compact: bool = False
    notices: tuple[Decision, ...] = ()  # WARN and COMPACT, in the order in which the watch gave them


def run_stage(
    *,
    launch: Launch,
    reader: StreamReader,
    watch: Watch,
    inbox: StageInbox,
    lease: LeaseView,
    transcript: Path,
    stderr_file: Path,
    attempt_id: str,
    now: Callable[[], float],
    on_event: Callable[[Event, Watch], None],
    isolation: Isolation = Isolation.AUTO,
) -> StageEnd:
    """Run one agent to its end, and return when its whole process tree is gone.

    Args:
        launch: What to start.
        reader: Turns its output into events; called from this thread only.
        watch: The stage's guard. Its end, an order in the inbox or the lease's end kills the tree.
        inbox: Where other threads put events and orders; stays open.
        lease: Renewals reach the shim in the thread that makes them.
        transcript: Takes the standard output, up to `limits.max_output_bytes`.
        stderr_file: Takes the standard error, with the same bound.
        attempt_id: Marks the processes for `sweep`.
        now: The boot-time clock in seconds, the clock of `lease` and `watch`.
        on_event: Called with every event after the watch has seen it. It must be quick: while it runs nothing
            is read and no limit is carried out.
        isolation: How the tree is fenced.

    Raises:
        OSError: The shim could not be started or a file not be written. The tree is gone then, too.
    """
    limits = watch.frame.limits
    with ExitStack() as stack:
        out = stack.enter_context(BoundedFile(transcript, limits.max_output_bytes))
        err = stack.enter_context(BoundedFile(stderr_file, limits.max_output_bytes))
        started_at = now()
        shim = stack.enter_context(
            ShimProcess(
                launch,
                attempt_id=attempt_id,
                deadline=lease.deadline,
                grace_seconds=limits.grace,
                isolation=isolation,
            )
        )
        stack.enter_context(lease.telling(shim.renew_until))
        stage = _Stage(shim, reader, watch, inbox, out, err, now, on_event)
        shim_end = stage.run()
        code = shim_end.exit_code if shim_end.signal is None else -shim_end.signal
        agent_ended = reader.finish(code, err.tail)
        stage.take([agent_ended])
        order = stage.order or _fate(shim_end)
        # Who finished before the order came through has nothing to hand over.
        compact = bool(stage.compact) and order is None and agent_ended.reason is not EndReason.FINISHED
        return StageEnd(
            outcome=order.outcome if order else None,
            detail=order.detail if order else stage.compact if compact else "",
            agent_ended=agent_ended,
            shim_end=shim_end,
            started_at=started_at,
            ended_at=stage.ended_at,
            stderr_tail=err.tail,
            output_bytes=out.seen_bytes + err.seen_bytes,
            truncated=out.truncated or err.truncated,
            compact=compact,
            notices=tuple(stage.notices),
        )


class _Stage:
    """The loop's state."""

    def __init__(
        self,
        shim: ShimProcess,
        reader: StreamReader,
        watch: Watch,
        inbox: StageInbox,
        out: BoundedFile,
        err: BoundedFile,
        now: Callable[[], float],
        on_event: Callable[[Event, Watch], None],
    ) -> None:
        self._shim, self._reader, self._watch, self._inbox = shim, reader, watch, inbox
        self._out, self._err, self._now, self._on_event = out, err, now, on_event
        self._streams = {shim.stdout.fileno(): out, shim.stderr.fileno(): err}
        for fd in self._streams:
            os.set_blocking(fd, False)
        self.order: EndOrder | None = None
        self.compact = ""  # why the session was ended for a fresh one
        self.notices: list[Decision] = []
        self._ended_at: float | None = None
        self._give_up_at = 0.0
        self._forced = False

    @property
    def ended_at(self) -> float:
        """The moment when the tree was gone; while it lives, now. Events read after the end count as of it."""
        return self._now() if self._ended_at is None else self._ended_at

    def run(self) -> ShimEnd:
        """Loop until the shim reports that every process is gone."""
        poller = select.poll()
        for fd in (*self._streams, self._inbox.fileno(), self._shim.report_fd):
            poller.register(fd, select.POLLIN)
        next_poll = self._now() + _POLL_SECONDS
        while True:
            self._heed(self._watch.tick(self._now()))
            ready = {fd for fd, _ in poller.poll(1000 * self._pause(next_poll))}
            for fd in ready & self._streams.keys():
                if not self._read(fd):
                    poller.unregister(fd)
            self._listen()
            if self._now() >= next_poll:
                self.take(self._reader.poll())
                next_poll = self._now() + _POLL_SECONDS
            if self._shim.report_fd in ready or self._given_up():
                return self._finish()

    def take(self, events: Sequence[Event]) -> None:
        """Show events to the watch and to the stage's recorder, and obey."""
        for event in events:
            self._heed(self._watch.see(event, self.ended_at))
            self._on_event(event, self._watch)

    def _read(self, fd: int) -> bool:
        """Take one chunk of a stream; False at its end."""
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        kept = self._streams[fd]
        kept.write(data)
        if data and kept is self._out:
            self.take([OutputSeen(size_bytes=len(data)), *self._reader.feed(data)])
        seen, limit = self._out.seen_bytes + self._err.seen_bytes, self._watch.frame.limits.max_output_bytes
        if seen > _FLOOD_FACTOR * limit:
            self._end(Outcome.OUTPUT_LIMIT, f"{seen} bytes of output ({_FLOOD_FACTOR} x {limit} bytes)")
        return bool(data)

    def _listen(self) -> None:
        self.take(self._inbox.drain())
        if self._inbox.order is not None:
            self._end(*self._inbox.order)

    def _heed(self, decision: Decision) -> None:
        if decision.action is Action.END and decision.outcome is not None:
            self._end(decision.outcome, decision.detail)
        elif decision.action is Action.COMPACT and not self._killing:
            self.compact = decision.detail
            self.notices.append(decision)
            self._kill(self._watch.frame.limits.grace)
        elif decision.action is Action.WARN:
            self.notices.append(decision)

    def _end(self, outcome: Outcome, detail: str) -> None:
        """Order the kill. The first reason stays."""
        if self.order is None:
            self.order = EndOrder(outcome, detail)
            # Whoever lost his lease has no time left to be polite in.
            self._kill(0.0 if outcome is Outcome.LEASE_LOST else self._watch.frame.limits.grace)

    @property
    def _killing(self) -> bool:
        return self.order is not None or bool(self.compact)

    def _kill(self, grace: float) -> None:
        self._shim.kill(grace)
        self._give_up_at = self._now() + grace + _OBEY_SECONDS

    def _pause(self, next_poll: float) -> float:
        now = self._now()
        moment = self._give_up_at if self._killing else self._watch.next_deadline(now)
        return max(0.0, min(moment, next_poll) - now)

    def _given_up(self) -> bool:
        if not self._killing or self._now() < self._give_up_at:
            return False
        if self._forced:
            return True
        self._forced = True
        self._shim.force()
        self._give_up_at = self._now() + _OBEY_SECONDS
        return False

    def _finish(self) -> ShimEnd:
        try:
            end = self._shim.wait(timeout_seconds=1.0)
        except TimeoutError as fault:
            end = ShimEnd(reason=ShimReason.LOST, detail=str(fault))
        self._ended_at = self._now()
        for fd in self._streams:
            for _ in range(_DRAIN_CHUNKS):
                if not self._read(fd):
                    break
        self.take(self._reader.poll())
        self._listen()
        return end


def _fate(end: ShimEnd) -> EndOrder | None:
    """What an end that nobody here ordered means; None when the agent ended by itself."""
    if end.reason in (ShimReason.EXIT, ShimReason.KILLED):
        return None
    if end.reason is ShimReason.LEASE:
        return EndOrder(Outcome.LEASE_LOST, "the lease was not renewed in time")
    return EndOrder(Outcome.INFRA_ERROR, f"{end.reason}: {end.detail}")
