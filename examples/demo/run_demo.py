"""Runs the demo from nothing to a report: `make demo`.

Makes the two target repositories, starts the scripted model server on a free port, and then runs the very command
that a user would, `bakeoff run`. Everything it writes is under `.bakeoff/demo/`.
"""

import argparse
import contextlib
import os
import shutil
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
    """Run it; the exit code is that of `bakeoff run`."""
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
        code = _bakeoff(env, "run", str(file), "--html", str(work / "report.html"))
    if not code:
        print(f"\ndemo: {time.monotonic() - began:.0f} s; the report with its plots is {work / 'report.html'}")
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", help="default: opencode when it is installed, else the reference agent")
    parser.add_argument("--repeats", type=int, help="default: as the experiment file says")
    parser.add_argument("--keep", action="store_true", help="keep earlier results: only what is missing is run")
    parser.add_argument("--directory", type=Path, default=_ROOT / ".bakeoff" / "demo", help="default: %(default)s")
    return parser.parse_args()


def _prepare(work: Path, *, port: int, agent: str, repeats: int | None) -> Path:
    """Make the targets, and copies of both files with port, agent and repeats put in. Returns the experiment file."""
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
    """The scripted model server for as long as the block lasts; it dies with this process too. Yields its port."""
    work.mkdir(parents=True, exist_ok=True)
    port_file, log_file = work / "models.port", work / "models.log"
    port_file.unlink(missing_ok=True)
    options = {"script": _HERE / "models.yaml", "port-file": port_file, "parent-pid": os.getpid()}
    argv = [sys.executable, "-m", "workers.gateway.scripted"]
    argv += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    with log_file.open("wb") as log, subprocess.Popen(argv, env=dict(env), stdout=log, stderr=log) as server:
        try:
            yield _port_of(server, port_file, log_file)
        finally:
            server.terminate()


def _port_of(server: subprocess.Popen[bytes], port_file: Path, log: Path) -> int:
    deadline = time.monotonic() + _SERVER_START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if port_file.exists() and (text := port_file.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise SystemExit(f"demo: the scripted model server did not start:\n{log.read_text(errors='replace')}")


def _bakeoff(env: Mapping[str, str], *args: str) -> int:
    print(f"$ bakeoff {' '.join(args)}", flush=True)
    program = Path(sys.executable).with_name("bakeoff")
    return subprocess.run([str(program), *args], env=dict(env), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
