"""Makes the demo's target repositories from the plain files under `targets/`: `make_targets.py DIRECTORY`.

The commits are the same on every machine and every day, so that a second run finds the results of the first.
"""

import shutil
import sys
from pathlib import Path

import git

_SOURCES = Path(__file__).resolve().parent / "targets"
_DATE = "2026-01-05T09:00:00 +0000"
_AUTHOR = git.Actor("Demo", "demo@example.invalid")


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
    made = git.Repo.init(repo, initial_branch="main")
    # The index is written here and not by `git add`: no configuration, filter or hook of the user's can change it.
    made.index.add(sorted(str(path.relative_to(repo)) for path in repo.rglob("*") if _is_source(path, repo)))
    made.index.commit(
        f"{name} as it stands before the task",
        author=_AUTHOR,
        committer=_AUTHOR,
        author_date=_DATE,
        commit_date=_DATE,
        skip_hooks=True,
    )
    made.close()
    return repo


def _is_source(path: Path, repo: Path) -> bool:
    return path.is_file() and ".git" not in path.relative_to(repo).parts


def main() -> None:
    """Make every target in the directory given."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_targets.py DIRECTORY")
    for name in target_names():
        print(make_target(name, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
