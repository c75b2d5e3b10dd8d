"""What the examples on a published project share: its source package, and a git repository made of it."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

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


def download(work: Path) -> Path:
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


def make_repository(package: Path, repo: Path) -> None:
    """One commit on `main` with exactly what the package holds."""
    shutil.rmtree(repo, ignore_errors=True)
    with tarfile.open(package) as archive:
        archive.extractall(repo.parent, filter="data")
    (repo.parent / package.name.removesuffix(".tar.gz")).rename(repo)
    env = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "GIT_CONFIG_GLOBAL": os.devnull, **_COMMITTER}
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", f"{PROJECT} from PyPI"]):
        subprocess.run(["git", *arguments], cwd=repo, env=env, check=True)
