"""Makes the demo's target repositories from the plain files under `targets/`: `make_targets.py DIRECTORY`.

The commits are the same on every machine and every day, so that a second run finds the results of the first.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_SOURCES = Path(__file__).resolve().parent / "targets"
_DATE = "2026-01-05T09:00:00+00:00"
_IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Demo"), ("EMAIL", "demo@example.invalid"), ("DATE", _DATE))
}
# The user's own git configuration (signing, templates, hooks, line ends) must not change the commit.
_GIT_ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **_IDENTITY}


def target_names() -> tuple[str, ...]:
    """The names of the demo's targets."""
    return tuple(sorted(path.name for path in _SOURCES.iterdir() if path.is_dir()))


def make_target(name: str, parent: Path) -> Path:
    """Create the repository `parent/name` on branch `main`, in place of what was there. Returns its path."""
    repo = parent / name
    if repo.exists():
        shutil.rmtree(repo)
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.pyc")
    shutil.copytree(_SOURCES / name, repo, ignore=ignore)
    for path in repo.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _git(repo, "init", "--quiet", "--template=", "--initial-branch=main")
    _git(repo, "add", "--all")
    _git(repo, "commit", "--quiet", "--no-verify", "--message", f"{name} as it stands before the task")
    return repo


def _git(repo: Path, *args: str) -> None:
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    subprocess.run(["git", *args], cwd=repo, env=path | _GIT_ENV, check=True)


def main() -> None:
    """Make every target in the directory given."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_targets.py DIRECTORY")
    for name in target_names():
        print(make_target(name, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
