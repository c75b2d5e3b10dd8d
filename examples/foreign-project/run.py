"""Runs an agent on a project from PyPI: `python examples/foreign-project/run.py`.

Downloads the source package of toolz in a pinned version, makes a git repository of it, and lets two scripted models
rename a function across its modules and tests. The project's own test-suite judges. All of it is under one directory.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_AGENTS = _ROOT / "ops" / "agents" / "node_modules" / ".bin"
_PORT_IN_FLEET = "47801"
# A loaded machine needs seconds to import the server; one that needs longer is broken.
_SERVER_START_SECONDS = 30.0

PROJECT = "toolz==1.0.0"
SHA256 = "2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02"
TEST_RUNNER = "pytest==9.2.0"
# Exit code when PyPI does not answer, so that a caller can tell it from a failed run.
NO_DOWNLOAD = 75

# The same commit everywhere: its hash is part of the job's identity.
_COMMITTER = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in {
        "NAME": "Bakeoff example",
        "EMAIL": "example@example.org",
        "DATE": "2026-01-01T00:00:00Z",
    }.items()
}


def main() -> int:
    """Run it; the exit code is that of `bakeoff run`, or NO_DOWNLOAD."""
    args = _arguments()
    work = args.directory.resolve()
    env = {
        **os.environ,
        "BAKEOFF_HOME": str(work / "home"),
        "PATH": os.pathsep.join((str(_AGENTS), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
    }
    agent = args.agent or ("opencode" if shutil.which("opencode", path=env["PATH"]) else "reference")
    try:
        package = _download(work)
    except subprocess.CalledProcessError as error:
        print(f"foreign-project: the download failed:\n{error.stderr}", file=sys.stderr)
        return NO_DOWNLOAD
    _make_repository(package, work / "toolz")
    with _scripted_models(work, env) as port:
        file = _prepare(work, port=port, agent=agent, repeats=args.repeats)
        print(f"foreign-project: {PROJECT} with agent {agent}", flush=True)
        report = work / "report.html"
        return subprocess.run(
            [str(Path(sys.executable).with_name("bakeoff")), "run", str(file), "--html", str(report)],
            env=env,
            check=False,
        ).returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", help="default: opencode when it is installed, else the reference agent")
    parser.add_argument("--repeats", type=int, help="default: as the experiment file says")
    parser.add_argument("--directory", type=Path, default=_ROOT / ".bakeoff" / "foreign-project")
    return parser.parse_args()


def _download(work: Path) -> Path:
    """The source package, checked against its hash, and the runner of its tests. Returns the package."""
    downloads, library = work / "downloads", work / "library"
    downloads.mkdir(parents=True, exist_ok=True)
    pinned = downloads / "requirements.txt"
    pinned.write_text(f"{PROJECT} --hash=sha256:{SHA256}\n")
    name = PROJECT.partition("==")[0]
    _pip(
        "download", "--no-deps", "--no-binary", name, "--dest", str(downloads), "--require-hashes", "-r", str(pinned)
    )
    if not (library / "pytest").is_dir():
        _pip("install", "--target", str(library), TEST_RUNNER)
    return downloads / f"{PROJECT.replace('==', '-')}.tar.gz"


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(argv, check=True, capture_output=True, text=True)


def _make_repository(package: Path, repo: Path) -> None:
    """One commit on `main` with exactly what the package holds."""
    shutil.rmtree(repo, ignore_errors=True)
    with tarfile.open(package) as archive:
        archive.extractall(repo.parent, filter="data")
    (repo.parent / package.name.removesuffix(".tar.gz")).rename(repo)
    env = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "GIT_CONFIG_GLOBAL": os.devnull, **_COMMITTER}
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", f"{PROJECT} from PyPI"]):
        subprocess.run(["git", *arguments], cwd=repo, env=env, check=True)


def _prepare(work: Path, *, port: int, agent: str, repeats: int | None) -> Path:
    """Copies of both files with port, agent, repeats and paths put in. Returns the experiment file."""
    (work / "fleet.toml").write_text((_HERE / "fleet.toml").read_text().replace(_PORT_IN_FLEET, str(port)))
    text = (_HERE / "experiment.yaml").read_text().replace("LIBRARY", str(work / "library"))
    lines = text.replace("PYTHON -", f"{sys.executable} -").splitlines()
    values = {"agent": agent} | ({"repeats": str(repeats)} if repeats else {})
    for key, value in values.items():
        lines = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
    file = work / "experiment.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


@contextlib.contextmanager
def _scripted_models(work: Path, env: Mapping[str, str]) -> Iterator[int]:
    """The scripted model server for as long as the block lasts; it dies with this process too. Yields its port."""
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
    raise SystemExit(f"foreign-project: the scripted model server did not start:\n{log.read_text(errors='replace')}")


if __name__ == "__main__":
    sys.exit(main())
