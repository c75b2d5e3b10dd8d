"""Metrics as Prometheus reads them."""

import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.clock import utc_now
from orchestrator.domain.outcome import Outcome
from orchestrator.metrics_server import MetricsServer
from orchestrator.reports.metrics import CATALOGUE, MOST_VALUES, families
from orchestrator.storage import attempts, drains, machines
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.engine import Database
from orchestrator.storage.figures import (
    BUCKETS,
    AttemptFigure,
    Distribution,
    JobCount,
    Past,
    Present,
    StageFigure,
)
from orchestrator.storage.leader import Leadership
from orchestrator.storage.tables import notice_deliveries, notices, quota_gates, stages, windows
from tests.support.world import COMPLETE, NOW, POOL, WORKER, A, add, parked, start

STAGE = {
    "agent": "reference",
    "model_asked": "opus",
    "role": "build",
    "resource": A,
    "started_at": NOW,
    "ended_at": NOW + timedelta(seconds=90),
}


class Answer(NamedTuple):
    status: int
    text: str


@contextmanager
def serving(database: Database, password: str | None = None) -> Iterator[MetricsServer]:
    server = MetricsServer(database, "127.0.0.1", 0, password)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def get(server: MetricsServer, path: str = "/metrics", login: str | None = None) -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}")
    if login is not None:
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, in the catalogue's order of labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items())))] = sample.value
    return found


def a_night(database: Database) -> None:
    """Some of everything that there is a metric for."""
    add(database, [A, A, POOL, POOL], capacities={A: 1, POOL: 2})
    one, two, three = start(database, NOW + timedelta(seconds=45))
    attempts.finish(
        database, two.attempt_id, AttemptResult(outcome=Outcome.LEASE_LOST, detail="", wall_seconds=7.5), NOW
    )
    attempts.finish(database, three.attempt_id, COMPLETE, NOW)
    attempts.finish(database, one.attempt_id, parked(NOW + timedelta(hours=1)), NOW)
    drains.drain(database, [POOL], "cleaning", NOW)
    machines.announce(database, WORKER, "cloud.a", {"resource": A, "disk_free_bytes": 5000}, utc_now())
    leadership = Leadership(database, "box")
    leadership.lead()
    leadership.count_pass(0.25)
    assert leadership._renew()
    with database.write() as connection:
        connection.execute(
            stages.insert(),
            [
                STAGE
                | {"attempt_id": one.attempt_id, "ordinal": 1, "stage": "plan", "working_seconds": 20.0}
                | {"requests": 2, "requests_without_usage": 1, "input_tokens": 100, "output_tokens": 5}
                | {"cost_usd_micros": 1_500_000, "error_kind": None},
                STAGE
                | {"attempt_id": one.attempt_id, "ordinal": 2, "stage": "build", "working_seconds": 4000.0}
                | {"requests": 1, "requests_without_usage": 0, "input_tokens": 11, "output_tokens": None}
                | {"cost_usd_micros": None, "error_kind": "rate_limit"},
            ],
        )
        connection.execute(quota_gates.insert().values(account="a", zones={}, window_sessions=0))
        connection.execute(
            windows.insert().values(
                account="a", name="5h", used_ppm=970_000, resets_at=utc_now() + timedelta(hours=1),
                length_seconds=18000.0, stated_at=utc_now(), source="header",
            )
        )  # fmt: skip
        connection.execute(
            notices.insert().values(
                id="n", kind="test", subject="x", at=NOW, title="", text="", next_step="", times=1
            )
        )
        connection.execute(
            notice_deliveries.insert().values(notice_id="n", channel="team", state="waiting", due_at=NOW)
        )


def test_every_metric_says_what_the_database_has(database: Database) -> None:
    a_night(database)
    with serving(database) as server:
        text = get(server).text
    found = samples(text)
    assert {name: value for (name, *labels), value in found.items() if not labels and "queue" not in name} == {
        "bakeoff_scheduler_heartbeats_total": 1,
        "bakeoff_scheduler_pass_seconds_count": 1,
        "bakeoff_scheduler_pass_seconds_sum": 0.25,
        "bakeoff_database_size_bytes": pytest.approx(1e7, rel=0.99),
        "bakeoff_totals_age_seconds": pytest.approx(0, abs=60),
    }
    expected = {
        ("bakeoff_jobs", "experiment=demo", "state=done"): 1,
        ("bakeoff_jobs", "experiment=demo", "state=parked"): 1,
        ("bakeoff_jobs", "experiment=demo", "state=ready"): 2,
        ("bakeoff_attempts_ended_total", "experiment=demo", "outcome=complete"): 1,
        ("bakeoff_attempts_ended_total", "experiment=demo", "outcome=lease_lost"): 1,
        ("bakeoff_attempts_ended_total", "experiment=demo", "outcome=quota_parked"): 1,
        ("bakeoff_attempt_wall_seconds_total", "experiment=demo"): 7.5,
        ("bakeoff_queue_wait_seconds_bucket", "le=30"): 0,
        ("bakeoff_queue_wait_seconds_bucket", "le=60"): 3,
        ("bakeoff_queue_wait_seconds_bucket", "le=+Inf"): 3,
        ("bakeoff_queue_wait_seconds_sum",): 135,
        ("bakeoff_slots_open", "resource=account:a"): 0,
        ("bakeoff_slots_open", "resource=pool:p"): 0,
        ("bakeoff_slots_busy", "resource=pool:p"): 0,
        ("bakeoff_account_sessions_limit", "account=a"): 0,
        ("bakeoff_quota_used_ratio", "account=a", "window=5h"): 0.97,
        ("bakeoff_breaker_state", "scope=account:a", "state=open"): 1,
        ("bakeoff_breaker_moves_total", "kind=account", "state=open"): 1,
        ("bakeoff_drained", "scope=pool:p"): 1,
        ("bakeoff_worker_disk_free_bytes", "machine=box", "worker=cloud.a"): 5000,
        ("bakeoff_worker_closed", "machine=box", "worker=cloud.a"): 0,
        ("bakeoff_stages_ended_total", "agent=reference", "model=opus", "stage=plan"): 1,
        ("bakeoff_stage_working_seconds_bucket", "agent=reference", "le=30", "model=opus", "stage=plan"): 1,
        ("bakeoff_stage_working_seconds_bucket", "agent=reference", "le=3600", "model=opus", "stage=build"): 0,
        ("bakeoff_stage_working_seconds_sum", "agent=reference", "model=opus", "stage=build"): 4000,
        ("bakeoff_stage_errors_total", "agent=reference", "error=rate_limit"): 1,
        ("bakeoff_model_requests_total", "agent=reference", "model=opus"): 3,
        ("bakeoff_model_requests_without_usage_total", "agent=reference", "model=opus"): 1,
        ("bakeoff_tokens_total", "agent=reference", "kind=input", "model=opus"): 111,
        ("bakeoff_tokens_total", "agent=reference", "kind=output", "model=opus"): 5,
        ("bakeoff_cost_usd_total", "agent=reference", "model=opus"): 1.5,
        ("bakeoff_stages_unpriced_total", "agent=reference", "model=opus"): 1,
        ("bakeoff_notices", "channel=team", "state=waiting"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert lint(text) == []


def lint(text: str) -> list[str]:
    """What `promtool check metrics` complains of, and more: names, units, HELP and TYPE, and nothing outside the
    catalogue."""
    faults = []
    lines = text.splitlines()
    for family in text_string_to_metric_families(text):
        name = family.name
        known = CATALOGUE.get(name)
        if known is None:
            faults.append(f"{name} is not in the catalogue")
            continue
        if family.type != known.kind:
            faults.append(f"{name} is a {family.type}, not a {known.kind}")
        exposed = f"{name}_total" if known.kind == "counter" else name
        faults += [f"{exposed} has no {what}" for what in ("HELP", "TYPE") if not any(
            line.startswith(f"# {what} {exposed} ") for line in lines)]  # fmt: skip
        for sample in family.samples:
            if set(sample.labels) - {"le"} != set(known.labels):
                faults.append(f"{sample.name} has the labels {sorted(sample.labels)}")
    return faults


def test_labels_are_bounded_and_nothing_is_lost() -> None:
    many = range(10 * MOST_VALUES)
    zero = Distribution((1,) * len(BUCKETS), 1, 2.0)
    past = Past(
        attempts=[AttemptFigure(i, f"e{i}", "complete", 2, 1.0, 0.0, 0.0) for i in many],
        stages=[StageFigure("a", f"m{i}", "build", i, 0, 0, 1, 0, (1, 0, 0, 0, 0), zero) for i in many],
        errors=[],
        breaker_moves=[],
        queue_wait=zero,
    )
    counts = [JobCount(i, f"e{i}", "ready", 3) for i in many]
    now = Present(counts, {}, [], [(f"profile:e{i}/p", "open") for i in many], [], [], None, [], None)
    made = {family.name: family for family in families(now, past, [], NOW, 0.0)}

    def values(name: str, label: str) -> dict[str, float]:
        return {sample.labels[label]: sample.value for sample in made[name].samples}

    for name, label, whole, kept in (
        ("bakeoff_jobs", "experiment", 1500, "e499"),
        ("bakeoff_attempts_ended", "experiment", 1000, "e499"),
        ("bakeoff_model_requests", "model", 500, "m499"),
        ("bakeoff_breaker_state", "scope", 500, "profile:e0/p"),
    ):
        found = values(name, label)
        assert (len(found), sum(found.values())) == (MOST_VALUES + 1, whole), name
        assert {kept, "other"} <= set(found)
    ends = [s.value for s in made["bakeoff_stage_working_seconds"].samples if s.labels.get("le") == "+Inf"]
    assert sum(ends) == 500
    assert sum(len(family.samples) for family in made.values()) < 2000


def test_who_may_read_them(sqlite_databases: Any) -> None:
    with sqlite_databases.fresh() as database:
        with serving(database) as server:
            assert get(server).status == 200
            assert get(server, "/").status == 404
        with serving(database, "pässword") as server:
            logins = (None, "bakeoff:", "bakeoff:wrong", "other:pässword", "bakeoff:pässword")
            assert [get(server, login=login).status for login in logins] == [401, 401, 401, 401, 200]
            assert get(server, "/healthcheck") == (200, "OK")
            assert get(server, "/x").status == 401
        # A database that goes away is said by the status: Prometheus takes that for down.
        with serving(database) as server:
            Path(database.url.database or "").write_bytes(b"no database")
            database.close()
            assert get(server).status == 503
