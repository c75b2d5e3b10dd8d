"""The report of a large experiment: a million stages in up to 10 s and 2 GiB, 10,000 cells on a page open in 2 s.

The rows are written by the database itself, then a process of its own reads them, analyses them and writes the page;
Chromium opens that page. On SQLite and PostgreSQL.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from benchmarks.support import HERE, postgres, scratch
from orchestrator.analysis.study import study
from orchestrator.reports import html
from orchestrator.reports.options import ReportOptions
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.tables import attempts, cells, checks, experiments, jobs, targets
from tests.support.chromium import ARGUMENTS

TARGETS, PROFILES, STAGES = 400, 25, 100
WANTED_SECONDS, WANTED_BYTES, WANTED_OPEN_SECONDS = 10.0, 2 * 1024**3, 2.0
BEGAN = datetime(2026, 3, 4, 22, tzinfo=UTC)
_STAGE_SECONDS, _JOB_SECONDS = 60, 7


def fill(database: Database) -> None:
    """An experiment of 10,000 jobs with an attempt, a check and 100 stages each."""
    with database.write() as connection:
        for table, rows in _rows().items():
            insert_many(connection, table, rows)
        # Numbers are made in the database: sending them would take longer than what is measured.
        connection.execute(sa.text(_STAGES_SQL[database.sqlite]), {"stages": STAGES})
    if not database.sqlite:
        with database.read() as connection:
            connection.exec_driver_sql("ANALYZE")


def _rows() -> dict[sa.Table, list[dict[str, Any]]]:
    every = range(TARGETS * PROFILES)
    experiment = {"id": 1, "name": "large", "file_text": "", "spec": {}, "seed": 1}
    return {
        experiments: [{**experiment, "created_at": BEGAN, "submitted_at": BEGAN}],
        targets: [
            {"id": at + 1, "experiment_id": 1, "label": f"target-{at:03}", "sha": "0", "content_hash": f"{at}"}
            | {"spec": {}}
            for at in range(TARGETS)
        ],
        cells: [_cell(at) for at in every],
        jobs: [_job(at) for at in every],
        attempts: [_attempt(at) for at in every],
        checks: [
            {"attempt_id": f"{at:032d}", "kind": "final", "name": "tests", "target_id": at // PROFILES + 1,
             "status": "pass" if _solved(at) else "fail", "seconds": 12.0, "hidden": False, "runs": 1}
            for at in every
        ],
    }  # fmt: skip


def _solved(at: int) -> bool:
    return (at * 7919) % 100 < 30 + 2 * (at % PROFILES)


def _cell(at: int) -> dict[str, Any]:
    target, profile = divmod(at, PROFILES)
    models = {"reasoning": {"name": "opus"}, "build": {"name": "devstral"}}
    spec = {"target": {"label": f"target-{target:03}"}, "agent": "opencode", "agent_version": "1", "models": models}
    return {
        "id": at + 1,
        "experiment_id": 1,
        "target_id": target + 1,
        "profile": f"profile-{profile:02}",
        "key": f"{at}",
        "cell_hash": f"{at:064d}",
        "profile_hash": f"{profile:064d}",
        "params": {},
        "spec": {**spec, "loop": "staged"},
    }


def _job(at: int) -> dict[str, Any]:
    return {
        "id": at + 1,
        "experiment_id": 1,
        "cell_id": at + 1,
        "repeat": 1,
        "state": "done",
        "position": at,
        "needs": "account:max",
        "queue": "q",
        "attempts": 1,
        "outcome": "complete",
        "created_at": BEGAN,
        "finished_at": _started(at) + timedelta(seconds=_STAGE_SECONDS * STAGES),
    }


def _started(at: int) -> datetime:
    return BEGAN + timedelta(seconds=_JOB_SECONDS * at)


def _attempt(at: int) -> dict[str, Any]:
    return {
        "id": f"{at:032d}",
        "job_id": at + 1,
        "number": 1,
        "fence": 1,
        "state": "ended",
        "machine": f"machine{at % 4}",
        "boot_id": "b",
        "worker_pid": 1,
        "worker_start_ticks": 1,
        "started_at": _started(at),
        "ended_at": _started(at) + timedelta(seconds=_STAGE_SECONDS * STAGES),
        "outcome": "complete",
        "wall_seconds": float(_STAGE_SECONDS * STAGES),
        "working_seconds": float(_STAGE_SECONDS * STAGES),
        "rate_limit_wait_seconds": 0.0,
        "lease_wait_seconds": 0.0,
    }


_COLUMNS = """INSERT INTO stages (attempt_id, ordinal, stage, role, agent, resumed, model_asked, model_served,
    resource, started_at, ended_at, rate_limit_wait_seconds, turns, requests, input_tokens, output_tokens,
    cache_read_tokens, stream_total_tokens, gateway_total_tokens, cost_usd_micros, context_peak_tokens,
    context_window, exit_code)"""
_VALUES = """SELECT a.id, n.n, CASE n.n % 3 WHEN 0 THEN 'plan' WHEN 1 THEN 'build' ELSE 'verify' END,
    CASE n.n % 3 WHEN 1 THEN 'build' ELSE 'reasoning' END, 'opencode', {no},
    CASE n.n % 3 WHEN 1 THEN 'devstral' ELSE 'opus' END, CASE n.n % 3 WHEN 1 THEN 'devstral' ELSE 'opus' END,
    CASE n.n % 3 WHEN 1 THEN 'pool:gpu' ELSE 'account:max' END, {began}, {ended}, 0.0, 1 + n.n % 9, 2 + n.n % 11,
    1000 + (a.job_id * 31 + n.n * 17) % 900, 200 + n.n % 70, CASE WHEN a.job_id % 7 > 0 THEN 9000 END, 10000, 10050,
    CASE WHEN a.job_id % 11 > 0 THEN 1500 + n.n END, 30000 + (a.job_id * 13 + n.n) % 90000, 200000, 0
    FROM attempts a CROSS JOIN n ORDER BY a.job_id, n.n"""
_STAGES_SQL = {
    True: f"{_COLUMNS} WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :stages) "
    + _VALUES.format(
        no="0",
        began="datetime(a.started_at, ((n.n - 1) * 60) || ' seconds') || '.000000'",
        ended="datetime(a.started_at, (n.n * 60) || ' seconds') || '.000000'",
    ),
    False: f"{_COLUMNS} WITH n AS (SELECT generate_series(1, :stages) AS n) "
    + _VALUES.format(
        no="false",
        began="a.started_at + (n.n - 1) * interval '60 seconds'",
        ended="a.started_at + n.n * interval '60 seconds'",
    ),
}


def measure(url: str, page: Path) -> None:
    """Read, analyse, write; prints what each took as JSON. Runs in a process of its own, whose memory counts."""
    marks = [(time.perf_counter(), time.process_time())]
    evidence = load_evidence(Database(url, statement_timeout_seconds=120), "large", BEGAN + timedelta(days=2))
    marks.append((time.perf_counter(), time.process_time()))
    found = study(evidence)
    marks.append((time.perf_counter(), time.process_time()))
    page.write_text(html.render(found, ReportOptions()), encoding="utf-8")
    marks.append((time.perf_counter(), time.process_time()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spent = [[after[0] - before[0], after[1] - before[1]] for before, after in pairwise(marks)]
    print(json.dumps({"spent": spent, "peak": peak, "stages": len(evidence.stages)}))


class Opened(NamedTuple):
    """Seconds from the order to open a page to its first whole picture, and the page's own share of a processor."""

    wall: float
    cpu: float


def opened(page: Path) -> Opened | None:
    """None without Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.set_default_timeout(120_000)
        tab.goto("about:blank")
        meter = tab.context.new_cdp_session(tab)
        meter.send("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        tab.evaluate(drawn)
        took = time.perf_counter() - began
        told = {one["name"]: one["value"] for one in meter.send("Performance.getMetrics")["metrics"]}
        browser.close()
    return Opened(took, told["TaskDuration"])


def report(name: str, url: str, root: Path) -> bool:
    """Print one database's figures; whether they are within the limits."""
    page = root / f"{name}.html"
    child = [sys.executable, "-m", "benchmarks.report_scale", "measure", url, str(page)]
    told = json.loads(subprocess.run(child, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout)
    for step, (wall, cpu) in zip(("read", "analyse", "write HTML"), told["spent"], strict=True):
        print(f"{name:11} {step:12} {wall:6.2f} s (CPU {cpu:5.2f} s)")
    wall, cpu = (sum(step[kind] for step in told["spent"]) for kind in (0, 1))
    seen = opened(page)
    shown = "no Chromium" if seen is None else f"{seen.wall:6.2f} s (CPU {seen.cpu:5.2f} s)"
    sizes = f"for {told['stages']:,} stages"
    print(f"{name:11} {'together':12} {wall:6.2f} s (CPU {cpu:5.2f} s) goal {WANTED_SECONDS:g} s {sizes}")
    print(f"{name:11} {'memory':12} {told['peak'] / 1024**2:6.0f} MiB goal {WANTED_BYTES / 1024**2:.0f} MiB")
    print(f"{name:11} {'page opens':12} {shown} goal {WANTED_OPEN_SECONDS:g} s {page.stat().st_size / 1e6:.1f} MB")
    within = wall <= WANTED_SECONDS and told["peak"] <= WANTED_BYTES
    return within and (seen is None or seen.wall <= WANTED_OPEN_SECONDS)


def main() -> None:
    """Print the figures; exit 1 when a limit is missed."""
    with scratch() as root, postgres(root) as server:
        kept = []
        for name, url in (("SQLite", f"sqlite:///{root / 'large.db'}"), ("PostgreSQL", server)):
            database = Database(url, statement_timeout_seconds=300)
            database.migrate()
            fill(database)
            database.close()
            kept.append(report(name, url, root))
    sys.exit(not all(kept))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
