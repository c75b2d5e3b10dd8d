"""One look at what people may want to be told of, and the words in which they are."""

from datetime import datetime

from orchestrator.domain.breaker import describe
from orchestrator.domain.notices import NoticeKind
from orchestrator.domain.states import FINAL_JOB_STATES, JobState
from orchestrator.storage import notices as store
from orchestrator.storage import sights
from orchestrator.storage.engine import Database

# What is said of a cause. Causes hold words of providers and agents.
_CAUSE_LENGTH = 300
_ORDER = ("done", "failed", "invalid", "cancelled", "parked", "paused", "blocked", "ready")


def look(database: Database, now: datetime) -> list[store.Message]:
    """Store what is news, for whoever sends it; writes nothing where nothing has changed. Returns the messages."""
    known = store.marks(database)
    seen = sights.look(database, known, now)
    news = store.changed(seen.sights, known, now)
    if not news:
        return []
    words = {key: _words(database, key, seen, tell) for key, (_, tell) in news.items() if tell}
    return store.record(database, seen.sights, words, now)


def _words(database: Database, key: store.Key, seen: sights.Seen, times: int) -> store.Words:
    kind, subject = key
    name = subject.partition(":")[2]
    if kind is NoticeKind.EXPERIMENT_ENDED:
        return _ended(name, sights.counts(database, name))
    if kind is NoticeKind.EXPERIMENT_WAITING:
        return _waiting(name, sights.counts(database, name), seen)
    if kind is NoticeKind.BREAKER_OPEN:
        return _stopped(subject, seen, times)
    worker = seen.workers[subject]
    if kind is NoticeKind.MACHINE_FULL:
        return store.Words(
            f"worker {worker.worker} on {worker.machine} takes no new jobs",
            f"{worker.closed_for}. What runs there goes on.",
            f"Make room on {worker.machine}; stale trees go with: bakeoff gc",
        )
    return store.Words(
        f"worker {worker.worker} on {worker.machine} is silent",
        f"Last seen at {_at(worker.seen_at)}. Its jobs run again elsewhere when their leases have run out.",
        f"Look at {worker.machine}, and start the worker again. What is known of it: bakeoff status",
    )


def _ended(name: str, found: sights.Counts) -> store.Words:
    done, total = found.states.get(JobState.DONE, 0), sum(found.states.values())
    return store.Words(
        f"{name} has ended: {done} of {total} jobs done{f', {found.raced} out of the race' if found.raced else ''}",
        f"Jobs: {_count(found)}.",
        f"bakeoff report {name}",
    )


def _waiting(name: str, found: sights.Counts, seen: sights.Seen) -> store.Words:
    still_open = sum(count for state, count in found.states.items() if state not in FINAL_JOB_STATES)
    why = [seen.slots[need].note for need in found.needs if need in seen.slots and seen.slots[need].total <= 0]
    if found.wakes_at is not None:
        why.append(f"the first parked job is ready again at {_at(found.wakes_at)}")
    if found.states.get(JobState.PAUSED):
        why.append(f"paused jobs wait for: bakeoff resume {name}")
    if found.states.get(JobState.BLOCKED):
        why.append("blocked jobs wait for the first part of their experiment to end")
    said = "".join(f"\n{_short(one)}" for one in dict.fromkeys(filter(None, why)))
    return store.Words(
        f"{name} waits: none of its {still_open} open jobs can go on now",
        f"Jobs: {_count(found)}.{said}",
        f"bakeoff status {name}",
    )


def _stopped(scope: str, seen: sights.Seen, times: int) -> store.Words:
    kind, _, name = scope.partition(":")
    often = f" It was stopped {times} times since the last message." if times > 1 else ""
    said = describe(scope, seen.breakers[scope]) if scope in seen.breakers else ""
    # A profile belongs to an experiment: `profile:NIGHT/opus`.
    experiment, _, profile = name.partition("/")
    chosen = f"{experiment} --profile {profile}" if kind == "profile" else f"--{kind} {name}"
    return store.Words(
        f"{kind} {name} is stopped",
        f"{_short(said)}.{often}",
        f"When the cause is gone: bakeoff resume {chosen}",
    )


def _count(found: sights.Counts) -> str:
    """`40 done, 2 failed, 6 cancelled (4 by the race)`."""
    names = {state.value: count for state, count in found.states.items()}
    known = (*_ORDER, "queued", "running")
    why = [f"{found.raced} by the race"] if found.raced else []
    why += [f"{found.second} in the second part"] if found.second else []
    more = {JobState.CANCELLED.value: f" ({', '.join(why)})" if why else ""}
    return ", ".join(f"{names[name]} {name}{more.get(name, '')}" for name in known if names.get(name))


def _short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _CAUSE_LENGTH else line[: _CAUSE_LENGTH - 3] + "..."


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
