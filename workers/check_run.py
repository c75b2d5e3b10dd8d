"""One run of a check: what its command's end means, and which cases it told."""

import signal
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.check import CheckStatus, PinnedCheck
from workers.cases.reading import Reading, read_cases
from workers.command import MAX_LOG_BYTES, CommandEnd

TIMEOUT = "timeout"


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """`exit_code` is negative for a signal, None when the command was ended from outside or never ran. Without room
    on the disk nothing but the reason is known."""

    status: CheckStatus
    exit_code: int | None = None
    seconds: float | None = None
    reason: str | None = None
    log_sha256: str | None = None
    reading: Reading = field(default_factory=Reading)


def judge_run(check: PinnedCheck, end: CommandEnd, *, tree: Path, log: Path, log_sha256: str) -> CheckRun:
    """The run with its cases. The verdict is the exit code's alone: cases are told by the agent's code."""
    output = log.read_bytes()
    return CheckRun(
        status=_status(end),
        exit_code=end.exit_code,
        seconds=end.seconds,
        reason=TIMEOUT if end.timed_out else end_reason(end, check.timeout),
        log_sha256=log_sha256,
        reading=read_cases(check.report, tree, output, whole=len(output) <= MAX_LOG_BYTES and not end.timed_out),
    )


def _status(end: CommandEnd) -> CheckStatus:
    # A check that had come to its own end before the order was seen has a result like any other.
    if end.exit_code is None:
        return CheckStatus.FAIL if end.timed_out else CheckStatus.ERROR
    return CheckStatus.PASS if end.exit_code == 0 and not end.timed_out else CheckStatus.FAIL


def end_reason(end: CommandEnd, timeout_seconds: float) -> str | None:
    """Why a command did not end well, in words; None when it did."""
    if end.timed_out:
        return f"longer than {timeout_seconds:g} s"
    if end.exit_code is None:
        return end.fault or (f"{end.order.outcome}: {end.order.detail}" if end.order else "ended from outside")
    if end.exit_code < 0:
        number = -end.exit_code
        name = signal.Signals(number).name if number in signal.valid_signals() else str(number)
        return f"ended by signal {name}"
    return f"exit code {end.exit_code}" if end.exit_code else None
