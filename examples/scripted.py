"""What the examples with scripted models share: the model server, the agent that there is, and files filled in."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_AGENTS = tuple(_ROOT / "ops" / "agents" / part for part in ("node_modules/.bin", "bin"))
# A loaded machine needs seconds to import the server; one that needs longer is broken.
_SERVER_START_SECONDS = 30.0


def parser(description: str | None, name: str, *, agent: bool = True) -> argparse.ArgumentParser:
    """The options that examples have. `name` is the folder under `.bakeoff`; `agent`: whether one may be chosen."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if agent:
        made.add_argument("--agent", help="default: opencode when it is installed, else the reference agent")
    made.add_argument("--repeats", type=int, help="default: as the experiment file says")
    directory = _ROOT / ".bakeoff" / name
    made.add_argument("--directory", type=Path, default=directory, help="default: %(default)s")
    return made


def environment(work: Path) -> dict[str, str]:
    """Where results go, with the agents of this checkout first on PATH."""
    path = os.pathsep.join((*map(str, _AGENTS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {**os.environ, "BAKEOFF_HOME": str(work / "home"), "PATH": path}


def installed_agent(env: Mapping[str, str]) -> str:
    """opencode where it is installed, else the agent that is built in."""
    return "opencode" if shutil.which("opencode", path=env["PATH"]) else "reference"


def fill_in(source: Path, work: Path, replacements: Mapping[str, str], values: Mapping[str, object]) -> Path:
    """Copies of the fleet and experiment files of `source` in `work`; returns the experiment file.

    Every text of `replacements` is replaced, and top-level keys of the experiment get the `values` that are not None.
    """
    for name in ("fleet.toml", "experiment.yaml"):
        text = (source / name).read_text()
        for old, new in replacements.items():
            text = text.replace(old, new)
        (work / name).write_text(text)
    file = work / "experiment.yaml"
    lines = file.read_text().splitlines()
    for key, value in values.items():
        if value is not None:
            lines = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
    file.write_text("\n".join(lines) + "\n")
    return file


@contextlib.contextmanager
def models(script: Path, work: Path, env: Mapping[str, str]) -> Iterator[int]:
    """The scripted model server for as long as the block lasts; it dies with this process too. Yields its port."""
    work.mkdir(parents=True, exist_ok=True)
    port_file, log_file = work / "models.port", work / "models.log"
    port_file.unlink(missing_ok=True)
    options = {"script": script, "port-file": port_file, "parent-pid": os.getpid()}
    argv = [sys.executable, "-m", "workers.gateway.scripted"]
    argv += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with log_file.open("wb") as log, subprocess.Popen(argv, env=dict(env), stdout=log, stderr=log) as server:
        try:
            yield _port_of(server, port_file, log_file)
        finally:
            server.terminate()


def _port_of(server: "subprocess.Popen[bytes]", port_file: Path, log: Path) -> int:
    deadline = time.monotonic() + _SERVER_START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if port_file.exists() and (text := port_file.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise SystemExit(f"the scripted model server did not start:\n{log.read_text(errors='replace')}")


def bakeoff(env: Mapping[str, str], *arguments: str) -> int:
    """Run the very command that a user would, and say so. Returns its exit code."""
    print(f"$ bakeoff {' '.join(arguments)}", flush=True)
    program = Path(sys.executable).with_name("bakeoff")
    return subprocess.run([str(program), *arguments], env=dict(env), check=False).returncode
