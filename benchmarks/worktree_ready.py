"""Time until a job's tree is ready, against plain `git worktree add`, in one run on one machine.

Usage: python benchmarks/worktree_ready.py [--files 2000] [--runs 9] [--json]

Both start from the same commit of a generated repository whose objects are packed; the mirror exists already, as it
does for every job after a source's first. Runs alternate, so that a busy machine hits both. Reported: medians, ratio.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from workers.worktrees.collect import clean_checkout
from workers.worktrees.git import Git
from workers.worktrees.mirror import Mirror
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import parse_source
from workers.worktrees.worktree import JobTree

GOAL_RATIO = 1.2


def plain_git(cwd: Path, *args: str) -> str:
    """Git with its defaults, as `git worktree add` would be used by hand."""
    options = ["-c", "user.name=u", "-c", "user.email=u@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *options, *args], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout.strip()


def generate(repo: Path, files: int) -> str:
    """A repository of `files` text files of 0.2-12 KB in about files/20 folders."""
    draw = random.Random(1)
    repo.mkdir()
    plain_git(repo, "init", "-q")
    for number in range(files):
        folder = repo / f"pkg{number % 20}" / f"part{number % max(1, files // 20)}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = draw.randrange(5, 300)
        (folder / f"file{number}.py").write_text("".join(f"value_{draw.random()} = {n}\n" for n in range(lines)))
    plain_git(repo, "add", "-A")
    plain_git(repo, "commit", "-qm", "generated")
    plain_git(repo, "gc", "-q")
    return plain_git(repo, "rev-parse", "HEAD")


def timed(action: Callable[[], object]) -> float:
    """Seconds that the action took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(root: Path, files: int, runs: int) -> dict[str, float]:
    """Medians in seconds, and their ratios to `git worktree add`."""
    repo = root / "repo"
    sha = generate(repo, files)
    git = Git(host_env=os.environ)
    mirror = Mirror(root / "mirrors", parse_source(str(repo), relative_to=root), git)
    first_fetch = timed(lambda: mirror.ensure(sha))
    times: dict[str, list[float]] = {"worktree_add": [], "job_tree": [], "unchanged_commit": [], "clean_checkout": []}
    for run in range(runs):
        key = JobKey(experiment="bench", target="repo", profile="p", repeat=run, attempt="1")
        job = JobTree(root / "runs", key, mirror, git)
        added = ["worktree", "add", "-q", "-b", f"b{run}", str(root / f"wt{run}"), sha]
        times["worktree_add"].append(timed(partial(plain_git, repo, *added)))
        times["job_tree"].append(timed(partial(job.prepare, sha)))
        times["unchanged_commit"].append(timed(partial(job.commit_stage, "s", at_epoch_seconds=0)))
        times["clean_checkout"].append(timed(partial(clean_checkout, job, sha, root / f"c{run}")))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "files": files,
        "runs": runs,
        "first_fetch_seconds": first_fetch,
        **{f"{name}_seconds": value for name, value in medians.items()},
        "ratio": medians["job_tree"] / medians["worktree_add"],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as root:
        result = measure(Path(root), chosen.files, chosen.runs)
    if chosen.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:.4g}")
    print(f"goal: ratio <= {GOAL_RATIO}: {'met' if result['ratio'] <= GOAL_RATIO else 'MISSED'}")


if __name__ == "__main__":
    main()
