"""Flower beside a run whose second stage works until a file is there."""

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.lab import Lab
from tests.support.waiting import until

_ROOT = Path(__file__).parents[2]
PASSWORD = "canary-of-the-flower-login"


def held_script(gate: Path) -> str:
    """Models whose plan comes at once, and whose build ends when `gate` exists."""
    return f"""
models:
  big-model:
    - match: {{stage: plan}}
      turns:
        - say: Greet it in one file.
          usage: {{prompt_tokens: 9000, completion_tokens: 300}}
    - match: {{stage: build}}
      turns:
        - bash: echo hello > greeting.txt
          usage: {{prompt_tokens: 11000, cached_tokens: 9000, completion_tokens: 100}}
        - bash: until test -e {gate}; do sleep 0.1; done
          usage: {{prompt_tokens: 13900, cached_tokens: 11000, completion_tokens: 100}}
        - say: Greeted.
          usage: {{prompt_tokens: 14000, cached_tokens: 13000, completion_tokens: 100}}
"""


def write_held_matrix(lab: Lab, profiles: Mapping[str, object]) -> None:
    """An experiment over the models of `held_script`, by the reference agent in two stages."""
    lab.write_fleet(models={"opus": {"account": "max", "name": "big-model"}, "local": {"name": "big-model"}})
    lab.write(experiment="greeting", agent="reference", loop="staged", profiles=profiles)


@contextmanager
def held_models(folder: Path, gate: Path) -> Iterator[str]:
    """Serve `held_script` for as long as the block lasts. Yields the base URL."""
    script, port_file = folder / "held.yaml", folder / "held.port"
    script.write_text(held_script(gate))
    argv = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script)]
    argv += ["--port-file", str(port_file), "--parent-pid", str(os.getpid())]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=_ROOT) as server:
        try:
            until(lambda: port_file.exists() or server.poll() is not None, "the scripted models")
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            server.terminate()


class Answer(NamedTuple):
    """An HTTP answer. The headers' names are in lower case."""

    status: int
    text: str
    headers: Mapping[str, str]


class FlowerProcess:
    """`bakeoff flower` of a lab."""

    def __init__(self, lab: Lab, port: int, **env: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[str] = lab.start(
            "flower", "--port", str(port), env={"BAKEOFF_FLOWER_PASSWORD": PASSWORD, **env}
        )
        until(self._listens, "Flower to listen")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        try:
            return self.get("/healthcheck", password=None).status == 200
        except OSError:
            return False

    def get(
        self, path: str, *, password: str | None = PASSWORD, user: str = "bakeoff", method: str = "GET"
    ) -> Answer:
        """Ask for a page; no login without a password."""
        request = urllib.request.Request(self.url + path, method=method)
        if password is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.read().decode(), _lowered(answer.headers.items()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(), _lowered(error.headers.items()))

    def tasks(self) -> dict[str, Any]:
        """Every task that Flower knows, by its id."""
        answer = self.get("/api/tasks")
        assert answer.status == 200, answer
        found: dict[str, Any] = json.loads(answer.text)
        return found

    def task_with(self, **wanted: str) -> dict[str, Any]:
        """Wait for a task whose fields contain these texts."""

        def look() -> list[dict[str, Any]]:
            try:
                tasks = self.tasks().values()
            except OSError:  # it is just beginning anew
                return []
            return [task for task in tasks if all(text in str(task.get(name)) for name, text in wanted.items())]

        return until(look, f"Flower to show {wanted}")[0]

    def stop(self) -> str:
        """TERM. Returns what it wrote."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        return out + err


def _lowered(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def command_and_environment(pid: int) -> tuple[str, str]:
    """What any user of the machine can read of a process, and what only its own can."""
    folder = Path("/proc") / str(pid)
    return (folder / "cmdline").read_text(), (folder / "environ").read_text(errors="replace")
