"""Figures of the fleet as metrics: every one of them is in `CATALOGUE`, with its type, labels and meaning.

Names and units follow Prometheus' conventions: base units, `_total` for counters. Labels are bounded: beyond so many
values of an open-ended label the rest is summed up as `other`. Jobs are never a label.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from orchestrator.storage.figures import BUCKETS, TOKENS, Distribution, Past, Present
from orchestrator.storage.quota import AccountQuota

# Values of one open-ended label.
MOST_VALUES = 50
OTHER = "other"
_MICROS = 1e6


class Definition(NamedTuple):
    """A metric as the reference lists it. The name of a counter is without `_total`."""

    kind: str
    labels: tuple[str, ...]
    help: str


CATALOGUE: Mapping[str, Definition] = {
    "bakeoff_jobs": Definition("gauge", ("experiment", "state"), "Jobs by state."),
    "bakeoff_attempts_live": Definition("gauge", ("machine",), "Attempts that run now."),
    "bakeoff_attempts_ended": Definition("counter", ("experiment", "outcome"), "Attempts by how they ended."),
    "bakeoff_attempt_wall_seconds": Definition("counter", ("experiment",), "Time that ended attempts took."),
    "bakeoff_slot_wait_seconds": Definition("counter", ("experiment",), "Time in which attempts waited for a slot."),
    "bakeoff_rate_limit_wait_seconds": Definition(
        "counter", ("experiment",), "Time in which attempts waited for a rate limit."
    ),
    "bakeoff_queue_wait_seconds": Definition("histogram", (), "From a job's submission to its first start."),
    "bakeoff_slots_open": Definition("gauge", ("resource",), "Slots that may be in use at a time now."),
    "bakeoff_slots_busy": Definition("gauge", ("resource",), "Slots that attempts hold."),
    "bakeoff_slots_hinted": Definition("gauge", ("resource",), "Slots for which a job is on its way to a worker."),
    "bakeoff_account_sessions_limit": Definition(
        "gauge", ("account",), "Sessions that quota windows and refusals allow; absent: the whole concurrency."
    ),
    "bakeoff_quota_used_ratio": Definition("gauge", ("account", "window"), "Used share of a quota window, if known."),
    "bakeoff_quota_reset_timestamp_seconds": Definition(
        "gauge", ("account", "window"), "When a quota window resets, if known."
    ),
    "bakeoff_breaker_state": Definition(
        "gauge", ("scope", "state"), "1 for the state of a breaker; a breaker that is closed and calm is absent."
    ),
    "bakeoff_breaker_moves": Definition("counter", ("kind", "state"), "Moves of breakers into a state."),
    "bakeoff_drained": Definition("gauge", ("scope",), "1 for what takes no new work because a person said so."),
    "bakeoff_worker_heartbeat_age_seconds": Definition(
        "gauge", ("machine", "worker"), "Since a worker last announced itself."
    ),
    "bakeoff_worker_closed": Definition(
        "gauge", ("machine", "worker"), "1 while a worker takes no new jobs, for want of room or on request."
    ),
    "bakeoff_worker_disk_free_bytes": Definition("gauge", ("machine", "worker"), "Free where a worker's trees lie."),
    "bakeoff_stage_working_seconds": Definition(
        "histogram", ("agent", "model", "stage"), "Working time of ended stages, without waits."
    ),
    "bakeoff_stages_ended": Definition("counter", ("agent", "model", "stage"), "Ended stages."),
    "bakeoff_stage_errors": Definition("counter", ("agent", "error"), "Stages that a provider's error ended."),
    "bakeoff_model_requests": Definition("counter", ("agent", "model"), "Requests to models."),
    "bakeoff_model_requests_without_usage": Definition(
        "counter", ("agent", "model"), "Requests whose tokens are unknown."
    ),
    "bakeoff_tokens": Definition("counter", ("agent", "model", "kind"), "Tokens, where they are known."),
    "bakeoff_cost_usd": Definition("counter", ("agent", "model"), "List price of ended stages, where it is known."),
    "bakeoff_stages_unpriced": Definition("counter", ("agent", "model"), "Ended stages whose cost is unknown."),
    "bakeoff_scheduler_leader_info": Definition("gauge", ("machine", "version"), "1 for the scheduler that leads."),
    "bakeoff_scheduler_heartbeats": Definition("counter", (), "Raised every second by the scheduler that leads."),
    "bakeoff_scheduler_pass_seconds": Definition("summary", (), "Passes of the scheduler that leads."),
    "bakeoff_notices": Definition("gauge", ("channel", "state"), "Messages to people by what became of them."),
    "bakeoff_database_size_bytes": Definition("gauge", (), "Size of the results database."),
    "bakeoff_totals_age_seconds": Definition(
        "gauge", (), "How old the sums over ended attempts and stages are in this answer."
    ),
}

Rows = Iterable[tuple[tuple[str, ...], float]]
_FAMILIES: Mapping[str, Callable[..., Metric]] = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


def families(
    present: Present, past: Past, quotas: Sequence[AccountQuota], now: datetime, totals_age_seconds: float
) -> list[Metric]:
    """Every metric, in the order of the catalogue."""
    rows = _present_rows(present, quotas, now) | _past_rows(past)
    rows["bakeoff_totals_age_seconds"] = [((), totals_age_seconds)]
    made: dict[str, Metric] = {name: _plain(name, rows[name]) for name in rows}
    made["bakeoff_queue_wait_seconds"] = _histogram("bakeoff_queue_wait_seconds", {(): past.queue_wait})
    spread = _working(past)
    made["bakeoff_stage_working_seconds"] = _histogram("bakeoff_stage_working_seconds", spread)
    if present.leader is not None:
        made["bakeoff_scheduler_pass_seconds"] = SummaryMetricFamily(
            "bakeoff_scheduler_pass_seconds",
            CATALOGUE["bakeoff_scheduler_pass_seconds"].help,
            count_value=present.leader.passes,
            sum_value=present.leader.pass_seconds,
        )
    return [made[name] for name in CATALOGUE if name in made]


def _plain(name: str, rows: Rows) -> Metric:
    kind, labels, text = CATALOGUE[name]
    family = _FAMILIES[kind](name, text, labels=labels)
    summed: dict[tuple[str, ...], float] = defaultdict(float)
    for values, value in rows:
        summed[values] += value
    for values, value in summed.items():
        family.add_metric(values, value)  # type: ignore[attr-defined]
    return family


def _histogram(name: str, found: Mapping[tuple[str, ...], Distribution]) -> Metric:
    family = HistogramMetricFamily(name, CATALOGUE[name].help, labels=CATALOGUE[name].labels)
    for values, one in found.items():
        edges = [*(f"{edge:g}" for edge in BUCKETS), "+Inf"]
        family.add_metric(values, list(zip(edges, [*one.up_to, one.number], strict=True)), one.sum_seconds)
    return family


def _bounded(values: Iterable[str]) -> Callable[[str], str]:
    """The first so many of these values as they are, every other one as `other`."""
    kept = set(list(dict.fromkeys(values))[:MOST_VALUES])
    return lambda value: value if value in kept else OTHER


def _combined(rows: Iterable[tuple[str, ...]]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """As `_bounded`, for values that stand together: each of them alone would bound their product too late."""
    kept = set(list(dict.fromkeys(rows))[:MOST_VALUES])
    return lambda row: row if row in kept else (OTHER,) * len(row)


def _present_rows(present: Present, quotas: Sequence[AccountQuota], now: datetime) -> dict[str, Rows]:
    # The newest experiments keep their names.
    newest = _bounded(row.experiment for row in sorted(present.jobs, key=lambda row: -row.experiment_id))
    machine = _bounded(row.machine for row in present.workers)
    worker = _bounded(row.worker for row in present.workers)
    scope = _bounded(sorted((one for one, _ in present.breakers), key=lambda one: one.startswith("profile:")))
    account, resource = _bounded(one.account for one in quotas), _bounded(present.slots)
    windows = [(quota.account, state) for quota in quotas for state in quota.windows]
    leader = present.leader
    return {
        "bakeoff_jobs": [((newest(row.experiment), row.state), row.number) for row in present.jobs],
        "bakeoff_attempts_live": [((machine(name),), count) for name, count in present.live],
        "bakeoff_slots_open": [((resource(name),), one.total) for name, one in present.slots.items()],
        "bakeoff_slots_busy": [((resource(name),), one.busy) for name, one in present.slots.items()],
        "bakeoff_slots_hinted": [((resource(name),), one.hinted) for name, one in present.slots.items()],
        "bakeoff_account_sessions_limit": [
            ((account(one.account),), one.sessions) for one in quotas if one.sessions is not None
        ],
        "bakeoff_quota_used_ratio": [
            ((name, state.spec.name), state.standing.used_ppm / 1e6)
            for name, state in windows
            if state.standing.used_ppm is not None and account(name) != OTHER
        ],
        "bakeoff_quota_reset_timestamp_seconds": [
            ((name, state.spec.name), state.standing.resets_at)
            for name, state in windows
            if state.standing.resets_at is not None and account(name) != OTHER
        ],
        "bakeoff_breaker_state": [((scope(name), state), 1) for name, state in present.breakers],
        "bakeoff_drained": [((name,), 1) for name in present.drains[:MOST_VALUES]],
        # A sum of ages means nothing: workers beyond the bound are left out.
        "bakeoff_worker_heartbeat_age_seconds": [
            ((row.machine, row.worker), max(0.0, (now - row.seen_at).total_seconds()))
            for row in present.workers
            if OTHER not in (machine(row.machine), worker(row.worker))
        ],
        "bakeoff_worker_closed": [
            ((machine(row.machine), worker(row.worker)), float(row.closed)) for row in present.workers
        ],
        "bakeoff_worker_disk_free_bytes": [
            ((row.machine, row.worker), row.disk_free_bytes)
            for row in present.workers
            if row.disk_free_bytes is not None and OTHER not in (machine(row.machine), worker(row.worker))
        ],
        "bakeoff_scheduler_leader_info": [((leader.machine, leader.version), 1)] if leader else [],
        "bakeoff_scheduler_heartbeats": [((), leader.heartbeats)] if leader else [],
        "bakeoff_notices": [((channel, state), count) for channel, state, count in present.deliveries],
        "bakeoff_database_size_bytes": ([((), present.database_bytes)] if present.database_bytes is not None else []),
    }


def _past_rows(past: Past) -> dict[str, Rows]:
    newest = _bounded(row.experiment for row in sorted(past.attempts, key=lambda row: -row.experiment_id))
    most = sorted(past.stages, key=lambda row: -row.number)
    pair = _combined((row.agent, row.model) for row in most)
    kind_of = _combined((row.agent, row.model, row.stage) for row in most)
    agent = _bounded(name for name, _, _ in sorted(past.errors, key=lambda row: -row[2]))
    served = [(pair((row.agent, row.model)), row) for row in past.stages]
    return {
        "bakeoff_attempts_ended": [((newest(row.experiment), row.outcome), row.number) for row in past.attempts],
        "bakeoff_attempt_wall_seconds": [((newest(row.experiment),), row.wall_seconds) for row in past.attempts],
        "bakeoff_slot_wait_seconds": [((newest(row.experiment),), row.lease_wait_seconds) for row in past.attempts],
        "bakeoff_rate_limit_wait_seconds": [
            ((newest(row.experiment),), row.rate_limit_wait_seconds) for row in past.attempts
        ],
        "bakeoff_breaker_moves": [((kind, state), count) for kind, state, count in past.breaker_moves],
        "bakeoff_stages_ended": [(kind_of((row.agent, row.model, row.stage)), row.number) for row in past.stages],
        "bakeoff_stage_errors": [((agent(name), error), count) for name, error, count in past.errors],
        "bakeoff_model_requests": [(both, row.requests) for both, row in served],
        "bakeoff_model_requests_without_usage": [(both, row.requests_without_usage) for both, row in served],
        "bakeoff_tokens": [
            ((*both, kind), count) for both, row in served for kind, count in zip(TOKENS, row.tokens, strict=True)
        ],
        "bakeoff_cost_usd": [(both, row.cost_usd_micros / _MICROS) for both, row in served],
        "bakeoff_stages_unpriced": [(both, row.unpriced) for both, row in served],
    }


def _working(past: Past) -> dict[tuple[str, ...], Distribution]:
    most = sorted(past.stages, key=lambda row: -row.number)
    kind_of = _combined((row.agent, row.model, row.stage) for row in most)
    found: dict[tuple[str, ...], Distribution] = {}
    for row in most:
        key = kind_of((row.agent, row.model, row.stage))
        found[key] = _added(found[key], row.working) if key in found else row.working
    return found


def _added(one: Distribution, other: Distribution) -> Distribution:
    up_to = tuple(a + b for a, b in zip(one.up_to, other.up_to, strict=True))
    return Distribution(up_to, one.number + other.number, one.sum_seconds + other.sum_seconds)
