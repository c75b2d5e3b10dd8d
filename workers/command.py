"""Runs a user's shell command (setup, check) in a tree of its own, bounded in time and output, and leaves nothing."""

import os
import select
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.clock import boot_seconds
from orchestrator.domain.outcome import Outcome
from workers.agents.base import Launch
from workers.supervision.inbox import EndOrder, StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.process import ShimProcess, ShimReason
from workers.supervision.transcript import BoundedFile

MAX_LOG_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 65536
_GRACE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class CommandEnd:
    """How a command ended. `exit_code` is negative for a signal, None when it never ran or was ended by us."""

    exit_code: int | None
    timed_out: bool
    seconds: float
    order: EndOrder | None
    fault: str = ""  # why it could not run at all
    lost: bool = False  # its shim was killed by somebody else, and the command with it

    @property
    def ok(self) -> bool:
        """It ran to its end and returned 0."""
        return self.exit_code == 0 and not self.timed_out and self.order is None


@dataclass(frozen=True, kw_only=True)
class CommandFrame:
    """What every command of one attempt shares."""

    attempt_id: str
    lease: LeaseView
    inbox: StageInbox


def shell(command: str, *, cwd: Path, env: Mapping[str, str]) -> Launch:
    """A command line as the user wrote it. This is the only place where a shell reads one."""
    return Launch(argv=("bash", "-c", command), env=env, cwd=cwd)


def run_command(frame: CommandFrame, launch: Launch, *, timeout_seconds: float, log: Path) -> CommandEnd:
    """Run to the end, the timeout, or an order in the inbox; standard output and error go to `log`.

    Returns when every process of the command is gone. Raises OSError when the log cannot be written.
    """
    started_at = boot_seconds()
    timed_out = False
    ordered = False
    with ExitStack() as stack:
        sink = stack.enter_context(BoundedFile(log, MAX_LOG_BYTES))
        shim = stack.enter_context(
            ShimProcess(
                launch, attempt_id=frame.attempt_id, deadline=frame.lease.deadline, grace_seconds=_GRACE_SECONDS
            )
        )
        stack.enter_context(frame.lease.telling(shim.renew_until))
        streams = {shim.stdout.fileno(), shim.stderr.fileno()}
        poller = select.poll()
        for fd in (*streams, frame.inbox.fileno(), shim.report_fd):
            poller.register(fd, select.POLLIN)
        over = False
        while not over:
            pause = None if timed_out or ordered else max(0.0, started_at + timeout_seconds - boot_seconds())
            ready = {fd for fd, _ in poller.poll(None if pause is None else 1000 * pause)}
            over = shim.report_fd in ready
            for fd in ready & streams:
                data = os.read(fd, _CHUNK_BYTES)
                sink.write(data)
                if not data:
                    poller.unregister(fd)
            if frame.inbox.fileno() in ready:
                frame.inbox.drain()
            if frame.inbox.order and not ordered:
                ordered = True
                shim.kill(0.0)
            if not timed_out and not ordered and boot_seconds() - started_at >= timeout_seconds:
                timed_out = True
                shim.kill(_GRACE_SECONDS)
        end = shim.wait()
    if end.reason is ShimReason.LEASE:
        # For good: a renewal that comes now is too late for what has been ended.
        frame.inbox.order_end(Outcome.LEASE_LOST, "the lease was not renewed in time")
    code = end.exit_code if end.signal is None else -end.signal
    ran = end.reason is ShimReason.EXIT
    return CommandEnd(
        exit_code=code if ran else None,
        timed_out=timed_out,
        seconds=boot_seconds() - started_at,
        order=frame.inbox.order,
        fault="" if ran or timed_out or ordered else f"{end.reason}: {end.detail}",
        lost=end.reason in (ShimReason.LOST, ShimReason.SIGNAL) and not timed_out and not ordered,
    )
