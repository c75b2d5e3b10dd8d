"""`bakeoff web` as a process, and a matrix in the database that tests move by hand."""

import os
import subprocess
from pathlib import Path

from orchestrator.clock import utc_now
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import ArtifactRecord, AttemptResult, CheckRecord
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.engine import Database
from orchestrator.storage.submit import NewCell, NewJob, NewTarget, store_experiment
from orchestrator.storage.telemetry import EventRecord, Records, StageRecord, ship
from tests.support.flower import free_port
from tests.support.lab import BAKEOFF
from tests.support.waiting import PLENTY_SECONDS, until
from tests.support.world import claim, order, spec

_ROOT = Path(__file__).parents[2]


class WebProcess:
    """The live page of a database, on a port of its own, which a later one may take over. It makes its password."""

    def __init__(self, home: Path, database_url: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_ROOT),
            "BAKEOFF_HOME": str(home),
            "BAKEOFF_DATABASE_URL": database_url,
        }
        self.password_file = home / "web.password"
        self.log = home / f"web-{os.urandom(4).hex()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BAKEOFF), "web", "--port", str(self.port)], env=env, stdout=log, stderr=log, cwd=home
            )
        until(self._ready, "the live page to listen")

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "web_ready" in self.log.read_text()

    def stop(self) -> str:
        """TERM. Returns what it wrote."""
        self.process.terminate()
        assert self.process.wait(PLENTY_SECONDS) == 0, self.log.read_text()
        return self.log.read_text()


# What agents and files may bring along: markup, and a mark that turns the direction of what follows.
SCRIPT = "<script>alert('owned')</script>"
TURNED = "\u202egnp.exe"
POOL = "pool:p"


def make_matrix(database: Database) -> None:
    """Two targets by two profiles, one of each with a hostile name, two repeats, on a pool of two slots."""
    ensure_slots(database, {POOL: 2})
    targets, profiles = ("greeting", SCRIPT + TURNED), ("opus", f"{SCRIPT}p")
    grid = [(target, profile) for target in targets for profile in profiles]
    store_experiment(
        database,
        name="greetings",
        file_text="",
        spec={},
        seed=0,
        new_targets=[NewTarget(label=one, sha="0" * 40, content_hash=one, spec={}) for one in targets],
        new_cells=[
            NewCell(
                target_hash=target,
                profile=profile,
                key=f"{target}/{profile}",
                cell_hash=f"{number}",
                profile_hash=profile,
                params={},
                spec=spec(target) | {"limits": {"max_turns": 10, "max_infra_attempts": 1, "wall_timeout": 7200.0}},
            )
            for number, (target, profile) in enumerate(grid)
        ],
        new_jobs=[
            NewJob(cell_hash=f"{number}", repeat=repeat, position=2 * number + repeat, needs=POOL, queue="q")
            for number in range(len(grid))
            for repeat in (1, 2)
        ],
        now=utc_now(),
    )


def work(database: Database, claimed: attempts.Claim, seq: int) -> None:
    """The attempt is in a stage, an agent has said something hostile, and a guard has warned."""
    attempt = claimed.attempt_id
    values = {"stage": "build", "role": "build", "agent": "reference", "model_asked": "opus", "resource": POOL}
    figures = {"turns": 4, "input_tokens": 60_000, "context_tokens": 71_000, "context_window": 100_000}
    begun = StageRecord(attempt_id=attempt, ordinal=1, values={**values, **figures, "started_at": utc_now()})
    said = {
        "MessageSaid": {"text": f"{SCRIPT} said {seq}"},
        "GuardNotice": {"action": "warn", "detail": "context 71 % of 100000"},
    }
    events = [
        EventRecord(attempt_id=attempt, seq=seq + place, stage_ordinal=1, at=utc_now(), kind=kind, data=data)
        for place, (kind, data) in enumerate(said.items())
    ]
    ship(database, Records(stages=[begun], events=events), utc_now())


def finish(database: Database, claimed: attempts.Claim, status: CheckStatus, *files: ArtifactRecord) -> None:
    """The attempt is complete, and its check ended so."""
    for event in ("prepare", "work"):
        attempts.advance(database, claimed.attempt_id, event)
    check = CheckRecord(
        kind="final", name="tests", status=status, exit_code=None, seconds=None, reason=SCRIPT, log_sha256=None
    )
    result = AttemptResult(
        outcome=Outcome.COMPLETE,
        detail=f"all done {SCRIPT}",
        wall_seconds=61.0,
        final_text=f"I did it. {SCRIPT}{TURNED}",
        checks=(check,),
        artifacts=files,
    )
    attempts.finish(database, claimed.attempt_id, result, utc_now())


def start_now(database: Database, count: int = 2) -> list[attempts.Claim]:
    """So many of those that may start have started."""
    now = utc_now()
    return [claim(database, job_id, token, now) for job_id, token in list(order(database, now).items())[:count]]
