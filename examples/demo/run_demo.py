"""Runs the demo from nothing to a report: `make demo`.

Makes the two target repositories, starts the scripted model server on a free port, and then runs the very commands
that a user would: `bakeoff run` and `bakeoff report`. Everything it writes is under `.bakeoff/demo/`.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import make_targets

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_AGENTS = _ROOT / "ops" / "agents" / "node_modules" / ".bin"
_PORT_IN_FLEET = "47800"
# A loaded machine needs seconds to import the server; one that needs longer is broken.
_SERVER_START_SECONDS = 30.0


def main() -> int:
    """Run it; the exit code is that of the first command that failed."""
    args = _arguments()
    work = args.directory.resolve()
    if not args.keep:
        shutil.rmtree(work, ignore_errors=True)
    env = {
        **os.environ,
        "BAKEOFF_HOME": str(work / "home"),
        "PATH": os.pathsep.join((str(_AGENTS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }
    agent = args.agent or ("opencode" if shutil.which("opencode", path=env["PATH"]) else "reference")
    began = time.monotonic()
    with _scripted_models(work, env) as port:
        file = _prepare(work, port=port, agent=agent, repeats=args.repeats)
        print(f"demo: {file} with agent {agent}", flush=True)
        code = _bakeoff(env, "run", str(file))
    if code:
        return code
    page = work / "report.html"
    code = _bakeoff(env, "report", "profile-showdown", "--html", str(page))
    if not code:
        print(f"\ndemo: {time.monotonic() - began:.0f} s; the report with its plots is {page}")
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", help="default: opencode when it is installed, else the reference agent")
    parser.add_argument("--repeats", type=int, help="default: as the experiment file says")
    parser.add_argument("--keep", action="store_true", help="keep earlier results: only what is missing is run")
    parser.add_argument("--directory", type=Path, default=_ROOT / ".bakeoff" / "demo", help="default: %(default)s")
    return parser.parse_args()


def _prepare(work: Path, *, port: int, agent: str, repeats: int | None) -> Path:
    """Make the targets and copies of the two files with port, agent and repeats put in. Returns the experiment file."""
    for name in make_targets.target_names():
        make_targets.make_target(name, work / "targets")
    fleet = (_HERE / "fleet.toml").read_text().replace(_PORT_IN_FLEET, str(port))
    (work / "fleet.toml").write_text(fleet)
    lines = (_HERE / "experiment.yaml").read_text().splitlines()
    values = {"agent": agent} | ({"repeats": str(repeats)} if repeats else {})
    for key, value in values.items():
        lines = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
    file = work / "experiment.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


@contextlib.contextmanager
def _scripted_models(work: Path, env: Mapping[str, str]) -> Iterator[int]:
    """The scripted model server on a free port for as long as the block lasts. Yields the port."""
    work.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    script = str(_HERE / "models.yaml")
    argv = [sys.executable, "-m", "workers.gateway.scripted", "--script", script, "--port", str(port)]
    with (
        (work / "models.log").open("wb") as log,
        subprocess.Popen(argv, env=dict(env), stdout=log, stderr=log) as server,
    ):
        try:
            _wait_until_it_listens(server, port, work / "models.log")
            yield port
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _SERVER_START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"demo: the scripted model server did not start:\n{log.read_text(errors='replace')}")


def _bakeoff(env: Mapping[str, str], *args: str) -> int:
    print(f"$ bakeoff {' '.join(args)}", flush=True)
    program = Path(sys.executable).with_name("bakeoff")
    return subprocess.run([str(program), *args], env=dict(env), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
