"""A whole installation in a temporary directory: target, files, home, and `bakeoff` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.storage.engine import Database
from tests.support.forked import can_run, forker
from tests.support.processes import children, descendants, kill, marked
from tests.support.repos import make_repo
from tests.support.results import Results, Row
from tests.support.somebody import Somebody
from tests.support.waiting import PLENTY_SECONDS, until

BAKEOFF = Path(sys.executable).with_name("bakeoff")
_AGENT = Path(__file__).with_name("agent.py")
# This checkout is tested, whatever is installed beside it.
_ROOT = Path(__file__).parents[2]
# Nothing listens there.
NOBODY = "http://127.0.0.1:9"
# A lease that a frozen worker loses soon, for tests that ask for it.
SHORT_LEASE = {
    "BAKEOFF_LEASE_TTL_SECONDS": "3",
    "BAKEOFF_HEARTBEAT_SECONDS": "0.5",
    "BAKEOFF_LEASE_MARGIN_SECONDS": "0.7",
}


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


class Note(NamedTuple):
    """A line of the agents' own log. `moment` is boot time in seconds."""

    word: str
    attempt: str
    moment: float


class Lab:
    """One user's machine. Everything in it that still runs is killed by `close`."""

    def __init__(self, root: Path, *, base_url: str = NOBODY) -> None:
        self.root, self.base_url = root, base_url
        self.home = root / "home"
        self.file = root / "experiment.yaml"
        self.log, self.gate = root / "agents.log", root / "gate"
        self.results = Results(self.home)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(_ROOT),
            "BAKEOFF_HOME": str(self.home),
        }
        self.target = make_repo(root / "target")
        self._started: list[subprocess.Popen[str]] = []
        self._somebody: Somebody | None = None

    # -- the files --

    def write(self, **keys: object) -> Path:
        """The experiment file: one target, one profile, the logging agent in mode `quick`, with `keys` on top."""
        experiment: dict[str, object] = {
            "experiment": "lab",
            "agent": "quick",
            "agents": {mode: self.agent(mode) for mode in ("quick", "wait", "daemon", "deaf")},
            "targets": [{"repo": "target", "base": "main", "task": "TASK.md"}],
            "profiles": {"one": "model"},
            "limits": {"grace": "300ms"},
        }
        # JSON is YAML.
        self.file.write_text(json.dumps(experiment | keys, indent=1))
        if not (self.root / "fleet.toml").exists():
            self.write_fleet()
        return self.file

    def agent(self, mode: str) -> dict[str, object]:
        """An entry of `agents` for the logging agent."""
        python = [sys.executable, "-I", "-S"]
        return {
            "command": [*python, str(_AGENT), str(self.log), str(self.gate), mode],
            "version": ["echo", "1"],
        }

    def write_fleet(
        self,
        *,
        concurrency: int = 1,
        slots: int = 2,
        account: Mapping[str, object] | None = None,
        models: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """The fleet file: account `cloud`, pool `box`, model `model` on the account, and `models` on the pool.

        Nothing answers for an account `nobody`.
        """
        entries: dict[str, Mapping[str, object]] = {"model": {"account": "cloud"}}
        for name, values in (models or {}).items():
            entries[name] = values if "account" in values or "pool" in values else {"pool": "box", **values}
        accounts = {entry["account"] for entry in entries.values() if "account" in entry}
        lines = []
        for name in sorted(str(one) for one in accounts):
            where = NOBODY if name == "nobody" else self.base_url
            lines += [f"[accounts.{name}]", *_toml({"base_url": where, "concurrency": concurrency})]
            lines += _toml(account or {})
        lines += ["[pools.box]", *_toml({"base_url": self._pool_url(), "slots": slots})]
        for name, values in entries.items():
            lines += [f"[models.{name}]", *_toml({"name": name, "context_window": 100000, **values})]
        (self.root / "fleet.toml").write_text("\n".join(lines) + "\n")

    def _pool_url(self) -> str:
        """Where the pool's server is. A pool whose server does not answer at all is closed."""
        if self.base_url != NOBODY:
            return self.base_url
        if self._somebody is None:
            self._somebody = Somebody()
        return self._somebody.url

    # -- the program --

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `bakeoff` and go on."""
        process = subprocess.Popen(
            [str(BAKEOFF), *arguments],
            cwd=self.root,
            env=self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C goes to a whole process group: to this one, not to ours
        )
        self._started.append(process)
        return process

    def bakeoff(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """Run `bakeoff` to its end: forked where that is the same, and started like anybody's where it is not."""
        whole = self.env | dict(env or {})
        if can_run(arguments, whole):
            ended = forker().run(arguments, cwd=self.root, env=whole, seconds=PLENTY_SECONDS)
            if ended is not None:
                return _sound(Done(*ended))
        return self.end_of(self.start(*arguments, env=env))

    def run(self, *, env: Mapping[str, str] | None = None) -> Done:
        """`bakeoff run` of the experiment file, to its end."""
        return self.bakeoff("run", str(self.file), env=env)

    def end_of(self, process: subprocess.Popen[str], seconds: float = PLENTY_SECONDS) -> Done:
        """Wait for a started `bakeoff`."""
        out, err = process.communicate(timeout=seconds)
        return _sound(Done(process.returncode, out, err))

    def close(self) -> None:
        """Kill what the test left running; its children die with it."""
        for process in self._started:
            if process.poll() is None:
                for pid in descendants(process.pid):
                    kill(pid)
                process.kill()
            process.communicate()
        if self._somebody is not None:
            self._somebody.close()

    # -- what happened --

    def notes(self, word: str | None = None) -> list[Note]:
        """What the agents wrote, in their order."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines()]
        notes = [Note(line[0], line[1], float(line[2])) for line in lines]
        return [note for note in notes if word in (None, note.word)]

    def await_start(self, count: int = 1) -> Note:
        """Wait until so many agents have started in all; the last of them."""
        return until(lambda: self.notes("start")[count - 1 :], f"agent {count} to start")[0]

    def await_job(self, state: str) -> Row:
        """Wait until a job is in this state."""
        return until(lambda: [row for row in self.results.jobs() if row["state"] == state], f"a job to be {state}")[0]

    def artifact(self, sha256: str) -> Path:
        """Where an artifact lies."""
        return self.home / "artifacts" / sha256[:2] / sha256[2:]

    def logs(self) -> str:
        """The end of every log of the product, for a failing test."""
        paths = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in paths)

    def workers(self, process: subprocess.Popen[str]) -> dict[str, int]:
        """The worker processes of a run, by what they serve."""
        found = {}
        for pid, line in children(process.pid).items():
            words = line.split()
            if "workers.main" in words:
                found[words[-1]] = pid
        return found

    def broker(self, process: subprocess.Popen[str]) -> int | None:
        """The message broker of a run."""
        lines = children(process.pid).items()
        return next((pid for pid, line in lines if "valkey-server" in line or "redis-server" in line), None)

    def shims(self, process: subprocess.Popen[str]) -> list[int]:
        """The outermost shim of every agent of a run."""
        found: list[int] = []
        for worker in self.workers(process).values():
            found += [pid for pid, line in children(worker).items() if "shim.py" in line]
        return found

    def leftovers(self) -> dict[int, str]:
        """Living processes of any attempt of this lab."""
        return marked({row["id"] for row in self.results.attempts()} | {note.attempt for note in self.notes()})

    def assert_clean(self) -> None:
        """Nothing lives, nothing is held, everything that began has its end on record."""
        until(lambda: not self.leftovers(), f"the last process to die: {self.leftovers()}", 10)
        assert self.results.held_slots() == []
        for row in self.results.attempts():
            assert row["state"] == "ended", row
            assert row["outcome"], row
            assert row["ended_at"], row

    def assert_no_overlap(self, at_a_time: int = 1) -> None:
        """By the agents' own log there were never more than so many alive."""
        lives: dict[str, list[float]] = {}
        for note in self.notes():
            lives.setdefault(note.attempt, []).append(note.moment)
        changes = [(min(life), 1) for life in lives.values()] + [(max(life), -1) for life in lives.values()]
        alive = 0
        for _, change in sorted(changes):
            alive += change
            assert alive <= at_a_time, sorted((min(life), max(life), name) for name, life in lives.items())


def _sound(done: Done) -> Done:
    assert "Traceback" not in done.out + done.err, done
    return done


def _toml(values: Mapping[str, object]) -> Iterable[str]:
    # JSON scalars and arrays are TOML; tables inside become inline tables.
    return [f"{name} = {_toml_value(value)}" for name, value in values.items()]


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml_value(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)


def interrupt(process: subprocess.Popen[str]) -> None:
    """What Ctrl-C in a terminal does: the whole foreground group gets it."""
    os.killpg(process.pid, signal.SIGINT)


def shared(database: Database, broker_url: str) -> dict[str, str]:
    """The two settings of a shared installation."""
    return {
        "BAKEOFF_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "BAKEOFF_BROKER_URL": broker_url,
    }
