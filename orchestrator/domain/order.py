"""In which order jobs start: seeded positions at submit, and the choice of the next jobs in every pass.

Priority decides, which people give, and within a priority position: a pass reads nothing else of the order.
Position is made of three things, strongest first:

1. Turns. Experiments that wait for the same slots take turns, job by job: a new one joins where those of its
   priority are now.
2. Blocks: one target with all its profiles, those that are expected to take longest first, so that no long job is
   left for the end. The first repeat goes over all blocks before any block is repeated. What is not known does not
   move a block; blocks that are expected to take equally long go repeat by repeat.
3. The seeded draw, between equal blocks and always inside a block, so that no profile is favoured by its place.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Later jobs may take a resource from a job that waits for two this often before an account is kept for it.
DEFAULT_PATIENCE = 3


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What the order of a job depends on. `variant` tells swept parameters apart (empty when none are swept)."""

    target: str
    profile: str
    variant: str = ""
    repeat: int = 0


def interleave(
    jobs: Sequence[Placed], seed: int, *, after: int = 0, expected: Sequence[float | None] = ()
) -> tuple[int, ...]:
    """Positions `after + 1 ..` of new jobs, in the order of `jobs`; every job gets another one.

    Jobs run in blocks: one (target, variant) with all its profiles, in an order drawn for that block alone. So
    the runs that are compared with each other lie side by side, drift over the night meets all profiles alike, and
    a night that ends early leaves complete comparisons. Where nothing is known, every repeat goes over all blocks
    before the next begins.

    `expected` holds seconds for each of `jobs`, None where nothing is known. Blocks are sorted by their longest
    expected job, longest first; a block without any counts as the mean block. The lowest repeat goes over all blocks
    first; the others are sorted together, because a repeat of its own for each would begin its longest jobs near the
    end (on 2,371 recorded trials: 6.3 % over the lower bound at 64 slots, instead of 2.4 %). Equal blocks go repeat
    by repeat in drawn order, and without `expected` all are equal.

    The draw is a hash of seed and names, never a sequence of random numbers, so it does not depend on the order of
    the file. To extend a matrix, give the new jobs alone, with `after` = the highest position so far.
    """
    longest = _longest(jobs, expected) if expected else {}
    mean = sum(longest.values()) / len(longest) if longest else 0.0
    first = min((job.repeat for job in jobs), default=0)

    def key(index: int) -> tuple[bool, float, int, bytes, str, str, bytes, str]:
        job = jobs[index]
        seconds = longest.get((job.target, job.variant), mean)
        block = _draw(seed, "block", str(job.repeat), job.target, job.variant)
        within = _draw(seed, "job", str(job.repeat), job.target, job.variant, job.profile)
        return (job.repeat > first, -seconds, job.repeat, block, job.target, job.variant, within, job.profile)

    positions = [0] * len(jobs)
    for position, index in enumerate(sorted(range(len(jobs)), key=key), start=after + 1):
        positions[index] = position
    return tuple(positions)


def target_by_target(jobs: Sequence[Placed], seed: int, *, after: int = 0) -> tuple[int, ...]:
    """As `interleave`, for a race: every profile and variant on a target before the next target, in drawn order.

    What is expected to be long does not go first: an order that has to do with the results is no fair draw.
    """

    def key(index: int) -> tuple[int, bytes, str, bytes, str, str]:
        job = jobs[index]
        within = _draw(seed, "job", str(job.repeat), job.target, job.variant, job.profile)
        return job.repeat, race_draw(seed, job.target), job.target, within, job.profile, job.variant

    places = {index: place for place, index in enumerate(sorted(range(len(jobs)), key=key), start=after + 1)}
    return tuple(places[index] for index in range(len(jobs)))


def race_draw(seed: int, target: str) -> bytes:
    """A target's place in a race: the lower goes first."""
    return _draw(seed, "race", target)


def _longest(jobs: Sequence[Placed], expected: Sequence[float | None]) -> dict[tuple[str, str], float]:
    """The longest expected job of each (target, variant) of which anything is known."""
    found: dict[tuple[str, str], float] = {}
    for job, seconds in zip(jobs, expected, strict=True):
        if seconds is not None:
            block = (job.target, job.variant)
            found[block] = max(seconds, found.get(block, seconds))
    return found


def _draw(seed: int, *parts: str) -> bytes:
    text = "\0".join((str(seed), *parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Turn(NamedTuple):
    """Where the jobs with the same needs and priority stand, over all experiments."""

    next: int | None  # lowest position of a job that is ready and was never tried; None when there is none
    last: int  # highest position ever given


def joins_after(needs: tuple[str, ...], turns: Mapping[tuple[str, ...], Turn]) -> int:
    """The position after which a new experiment's jobs with these `needs` begin, so that it takes turns at once.

    Jobs that were tried before keep their place and go first: their turn has come already. Where nothing with the
    same needs is ready, those that share a resource tell how far things are; where nothing is ready at all, the new
    jobs go behind everything.
    """
    own = turns.get(needs)
    if own is not None and own.next is not None:
        return own.next - 1
    sharing = [turn for other, turn in turns.items() if set(other) & set(needs)]
    waiting = [turn.next - 1 for turn in sharing if turn.next is not None]
    return max(waiting or (turn.last for turn in sharing), default=0)


def is_resource(need: str) -> bool:
    """Whether it has slots (`account:...`, `pool:...`), and is not the scope of what is held back."""
    return need.startswith(("account:", "pool:"))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A ready job. `needs` are its resources (`account:...`, `pool:...`), one slot of each.

    Behind them stand the scopes of its profile and models while these are held back, and let in only so many.
    """

    job_id: int
    needs: tuple[str, ...]
    position: int
    passed_over: int = 0
    priority: int = 0


class Picked(NamedTuple):
    """Jobs to start now, in order, and jobs whose `passed_over` is to be raised by one."""

    chosen: tuple[int, ...]
    passed_over: tuple[int, ...]


def lookahead(total: Mapping[str, int], ready: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """Hints beyond the free slots, so that a pool's worker that finishes short jobs finds the next one waiting.

    `ready` are the needs of the jobs that are ready. A pool may look ahead by as many hints as it has slots, unless
    some of them need it together with something else and could start: such a job never goes ahead, so behind
    hints it would wait with its account idle. An account never looks ahead: its next job is decided when it is free,
    by the order and the quota of that moment.
    """
    shared = {need for needs in ready if len(needs) > 1 and all(one in total for one in needs) for need in needs}
    return {name: count for name, count in total.items() if name.startswith("pool:") and name not in shared}


def worth_reading(needs: tuple[str, ...], free: Mapping[str, int], ahead: Mapping[str, int]) -> int:
    """How many ready jobs with these `needs` a pass has to look at: what the scarcest resource could take.

    One is enough of those that need several resources and lack some: to be passed over. `free` and `ahead` are as
    for `pick`; resources that are not in `free` are closed.
    """
    if any(need not in free for need in needs) or _held_back(needs, free):
        return 0
    room = min(free[need] + (ahead.get(need, 0) if len(needs) == 1 else 0) for need in needs)
    if room > 0:
        return room
    return 1 if len(needs) > 1 and any(free[need] > 0 for need in needs) else 0


def _held_back(needs: tuple[str, ...], free: Mapping[str, int]) -> bool:
    """Whether no resource that comes free could help."""
    return any(free[need] <= 0 for need in needs if not is_resource(need))


def pick(
    candidates: Sequence[Candidate],
    free: Mapping[str, int],
    lookahead: Mapping[str, int] | None = None,
    *,
    patience: int = DEFAULT_PATIENCE,
) -> Picked:
    """Which ready jobs start now.

    `free` is slots less live attempts less hints that are out; it may be negative where hints were sent ahead. A
    resource that is not in `free` is closed (breaker open, quota reset awaited, no server): jobs that need it
    are left alone, and hold nothing back. `lookahead` is how far below zero hints may go, for jobs with one
    resource only.

    A job that needs several resources gets all or none. Each pass in which a later job takes one of them while it
    cannot start counts as passed over; from `patience` on, its accounts are kept free for it, and nothing is sent
    ahead to a pool that is all it still waits for. Pool slots are never kept: they come free often, and whoever
    is first in order gets the next one. Of jobs with the same needs only the first that waits is counted.
    """
    slots = _Slots(free, lookahead or {})
    chosen: list[int] = []
    # The first that waits for each set of resources stands for all behind it: they cannot start either, and count
    # only once it has started. So a pass touches few jobs, however many are ready.
    waiting: dict[tuple[str, ...], tuple[int, Candidate]] = {}
    last_taken: dict[str, int] = {}
    for index, candidate in enumerate(sorted(candidates, key=_in_order)):
        if slots.exhausted():
            break
        needs = candidate.needs
        if needs in waiting or not needs or any(need not in free for need in needs):
            continue
        if slots.take(needs):
            chosen.append(candidate.job_id)
            last_taken.update(dict.fromkeys(needs, index))
            continue
        if slots.held_back(needs):
            continue  # what it holds up for others would be idle: it does not wait for them
        waiting[needs] = index, candidate
        if len(needs) > 1 and candidate.passed_over >= patience:
            slots.keep(needs)
    passed = (c.job_id for index, c in waiting.values() if any(last_taken.get(need, -1) > index for need in c.needs))
    return Picked(tuple(chosen), tuple(passed))


def _in_order(candidate: Candidate) -> tuple[int, int, int]:
    return -candidate.priority, candidate.position, candidate.job_id


class _Slots:
    """The slots that one pass may still give away."""

    def __init__(self, free: Mapping[str, int], lookahead: Mapping[str, int]) -> None:
        self._free = dict(free)
        self._ahead = {name: max(0, lookahead.get(name, 0)) for name in free}
        self._open = {name for name in free if self._available(name) > 0}

    def exhausted(self) -> bool:
        """Whether no further job can start in this pass."""
        return not self._open

    def take(self, needs: tuple[str, ...]) -> bool:
        """Take one slot of each, or none and answer False."""
        if any((self._available(need) if len(needs) == 1 else self._free[need]) <= 0 for need in needs):
            return False
        for need in needs:
            self._free[need] -= 1
            self._settle(need)
        return True

    def held_back(self, needs: tuple[str, ...]) -> bool:
        """Whether its profile or a model of it lets no more in."""
        return _held_back(needs, self._free)

    def keep(self, needs: tuple[str, ...]) -> None:
        """Hold one slot of each account back; send nothing ahead to the one pool that is all that lacks."""
        lacking = [need for need in needs if self._free[need] <= 0]
        for need in needs:
            if not need.startswith("pool:"):
                self._free[need] -= 1
                self._ahead[need] = 0
            elif lacking == [need]:
                self._ahead[need] = 0
            self._settle(need)

    def _available(self, name: str) -> int:
        return self._free[name] + self._ahead[name]

    def _settle(self, name: str) -> None:
        if self._available(name) <= 0:
            self._open.discard(name)
