"""Circuit breakers: what a failure, an answer and the clock do to one, and how much it lets through.

A breaker is kept for each profile, account, pool and machine, under a scope such as `account:max`. Only its one probe
judges a half-open breaker: attempts that began before it opened may end as they like.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import BREAKER_MOVES, BreakerState, move


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Opens after `threshold` failures running, for `open_seconds`, doubled each time up to `longest_seconds`."""

    threshold: int
    open_seconds: float
    longest_seconds: float


# A server that restarts is back within seconds; a wrong key or a full disk needs a person.
POLICIES = {
    "account": Policy(threshold=3, open_seconds=60, longest_seconds=1800),
    "pool": Policy(threshold=3, open_seconds=15, longest_seconds=300),
    "machine": Policy(threshold=5, open_seconds=300, longest_seconds=3600),
    "profile": Policy(threshold=5, open_seconds=300, longest_seconds=3600),
}


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """One breaker. `failures` are running, `openings` too: since something last went well.

    `keys` are the jobs or targets that have been counted: each counts once. `until` is set while it is open, `probe`
    (an attempt) only while it is half open. An opening without failures is a limit that resets at `until`.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    keys: frozenset[str] = frozenset()
    cause: str | None = None
    opened_at: datetime | None = None
    until: datetime | None = None
    probe: str | None = None


def policy_of(scope: str) -> Policy:
    """The policy of a scope's kind. Raises KeyError for a scope of no known kind."""
    return POLICIES[scope.partition(":")[0]]


def failed(
    breaker: Breaker, policy: Policy, now: datetime, cause: str, *, attempt: str, key: str | None = None
) -> Breaker:
    """A failure of `attempt`. With a `key` it counts once until something goes well."""
    if breaker.state is BreakerState.HALF_OPEN:
        if breaker.probe != attempt:
            return breaker
    elif breaker.state is BreakerState.OPEN or (key is not None and key in breaker.keys):
        return breaker
    counted = replace(
        breaker,
        failures=breaker.failures + 1,
        keys=breaker.keys | ({key} if key is not None else set()),
        cause=cause,
    )
    if breaker.state is BreakerState.CLOSED and counted.failures < policy.threshold:
        return counted
    seconds = min(policy.longest_seconds, policy.open_seconds * 2.0 ** min(breaker.openings, 32))
    return _trip(counted, now, now + timedelta(seconds=seconds), cause)


def limited(breaker: Breaker, now: datetime, until: datetime, cause: str) -> Breaker:
    """A limit that resets at `until`: open until then. Of two limits the later reset holds."""
    if breaker.state is BreakerState.OPEN:
        assert breaker.until is not None
        return replace(breaker, until=until, cause=cause) if until > breaker.until else breaker
    # The limit says when it ends: what failed before has no part in how long it takes.
    return _trip(replace(breaker, failures=0, keys=frozenset()), now, until, cause)


def _trip(breaker: Breaker, now: datetime, until: datetime, cause: str) -> Breaker:
    return replace(
        breaker,
        state=move(BREAKER_MOVES, breaker.state, "trip"),
        openings=breaker.openings + 1,
        cause=cause,
        opened_at=now,
        until=until,
        probe=None,
    )


def tick(breaker: Breaker, now: datetime) -> Breaker:
    """What the clock does: at `until` an open breaker is half open, and waits for its probe."""
    if breaker.state is not BreakerState.OPEN or breaker.until is None or now < breaker.until:
        return breaker
    return replace(breaker, state=move(BREAKER_MOVES, breaker.state, "cool"), until=None)


def succeeded(breaker: Breaker, *, attempt: str) -> Breaker:
    """Something went well: a closed breaker forgets its failures, and its probe closes a half-open one."""
    if breaker.state is BreakerState.CLOSED:
        return Breaker()
    if breaker.state is BreakerState.HALF_OPEN and breaker.probe == attempt:
        return replace(Breaker(), state=move(BREAKER_MOVES, breaker.state, "succeed"))
    return breaker


def admits(breaker: Breaker | None) -> bool:
    """Whether one more attempt may start. Of a half-open breaker the next one is the probe (`probing`)."""
    if breaker is None or breaker.state is BreakerState.CLOSED:
        return True
    return breaker.state is BreakerState.HALF_OPEN and breaker.probe is None


def probing(breaker: Breaker, attempt: str) -> Breaker:
    """`attempt` starts: it is the probe of a half-open breaker. Raises ValueError when it is not admitted."""
    if not admits(breaker):
        raise ValueError(f"attempt {attempt} starts although the breaker is {breaker.state} (probe {breaker.probe})")
    return replace(breaker, probe=attempt) if breaker.state is BreakerState.HALF_OPEN else breaker


def probe_over(breaker: Breaker, attempt: str) -> Breaker:
    """`attempt` has ended. If it was the probe and said nothing, the next one is."""
    return replace(breaker, probe=None) if breaker.probe == attempt else breaker


def open_slots(total: int, busy: int, breaker: Breaker | None, *, drained: bool = False) -> int:
    """How many attempts may use a resource now, the `busy` ones included; 0 = closed.

    `total` is what it has. A half-open breaker lets one in beside those that began before it opened.
    """
    if drained or total == 0:
        return 0
    if breaker is None or breaker.state is BreakerState.CLOSED:
        return total
    if breaker.state is BreakerState.OPEN:
        return 0
    return min(total, busy + 1) if breaker.probe is None else min(total, busy)


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What an attempt's end says about a scope: `ok`, or failed (`key`: counts once). A `limit` ends by its reset."""

    scope: str
    ok: bool
    key: str | None = None
    limit: bool = False


@dataclass(frozen=True, kw_only=True)
class EndFacts:
    """An ended attempt, as far as breakers look at it.

    `resource` is the one of its last stage, `answered` those that answered a model request.
    """

    outcome: Outcome
    profile: str
    machine: str
    job_id: int
    target_id: int
    resource: str | None = None
    answered: Sequence[str] = ()


# Ends that say that the profile itself cannot work. A limit that it hit or a task that it did not solve is a result.
_PROFILE_BROKEN = frozenset({Outcome.AGENT_ERROR, Outcome.FAILURE_BREAKER, Outcome.MODEL_MISMATCH})
_RESOURCE_BROKEN = frozenset({Outcome.AUTH_ERROR, Outcome.MODEL_UNAVAILABLE})
# Ends that may be the machine's fault. A lost lease says nothing about it: one crash ends all attempts of its worker
# at once, and a machine that is gone claims nothing.
MACHINE_BROKEN = frozenset({Outcome.INFRA_ERROR, Outcome.SETUP_FAILED})


def signals(end: EndFacts) -> Iterator[Signal]:
    """What this end tells about profile, machine, accounts and pools."""
    kind = outcome_class(end.outcome)
    profile, machine = f"profile:{end.profile}", f"machine:{end.machine}"
    if end.outcome in _PROFILE_BROKEN:
        yield Signal(scope=profile, ok=False)
    elif kind is OutcomeClass.RESULT:
        yield Signal(scope=profile, ok=True)
    if end.outcome in MACHINE_BROKEN:
        # One job or target that breaks wherever it runs says nothing about the machine.
        setup = end.outcome is Outcome.SETUP_FAILED
        yield Signal(scope=machine, ok=False, key=f"target:{end.target_id}" if setup else f"job:{end.job_id}")
    elif kind in (OutcomeClass.RESULT, OutcomeClass.INVALID, OutcomeClass.QUOTA) or end.answered:
        yield Signal(scope=machine, ok=True)
    broken = end.resource if end.outcome in _RESOURCE_BROKEN else None
    if end.outcome is Outcome.QUOTA_PARKED and (end.resource or "").startswith("account:"):
        broken = end.resource
    if broken is not None:
        yield Signal(scope=broken, ok=False, limit=end.outcome is Outcome.QUOTA_PARKED)
    for resource in end.answered:
        if resource != broken:
            yield Signal(scope=resource, ok=True)


def describe(scope: str, breaker: Breaker) -> str:
    """Why nothing (more) starts there, in words; empty for a closed breaker."""
    kind, _, name = scope.partition(":")
    subject = f"{kind} {name}"
    why = f": {breaker.cause}" if breaker.cause else ""
    if breaker.state is BreakerState.CLOSED:
        return ""
    if breaker.state is BreakerState.HALF_OPEN:
        told = "one attempt tries it again" if breaker.probe else "the next attempt tries it again"
        return f"{subject} was stopped, {told}{why}"
    assert breaker.until is not None
    at = f"{breaker.until:%Y-%m-%d %H:%M:%S} UTC"
    if breaker.failures == 0:
        return f"{subject} is parked until its limit resets at {at}{why}"
    times = f"{breaker.failures} failure{'' if breaker.failures == 1 else 's'} running"
    return f"{subject} is stopped after {times}, tried again at {at}{why}"
