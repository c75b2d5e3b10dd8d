"""Tiny git repositories, with traps that show when git runs anything that the repository names."""

import hashlib
import os
import subprocess
from pathlib import Path

_HOOKS = ("post-checkout", "post-commit", "pre-commit", "post-merge", "post-index-change", "reference-transaction")
_WHO = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")


def git(folder: Path, *arguments: str) -> str:
    """Run git as an ordinary user would, without anybody's configuration."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *_WHO, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_repo(folder: Path, files: dict[str, str] | None = None) -> Path:
    """A repository with one commit on `main`."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in {"hello.txt": "hello\n", "TASK.md": "Greet the world.\n", **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def set_traps(repo: Path, marker: Path) -> None:
    """Hooks and an fsmonitor that write to `marker` when they run."""
    trap = f"#!/bin/sh\necho $0 >> {marker}\n"
    for name in (*_HOOKS, "fsmonitor"):
        path = repo / ".git" / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(trap)
        path.chmod(0o755)
    with (repo / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {repo / '.git' / 'hooks' / 'fsmonitor'}\n")


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder, the git directory included, with mode and content hash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{path.stat().st_mode:o} {digest}"
    return found
