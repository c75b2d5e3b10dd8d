"""A night in a minute: `python examples/compressed-night/run.py`.

Twelve jobs share a subscription whose five-hour window lasts twelve seconds. Jobs that meet the limit park, the rest
is deferred; after the reset one probe goes first, and parked jobs go on. The timeline is printed at the end, from the
results database.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent))

import scripted  # noqa: E402

_PORT_IN_FLEET = "47802"
_GIT = [
    "git",
    "-c",
    "user.name=Bakeoff example",
    "-c",
    "user.email=example@example.org",
    "-c",
    "core.hooksPath=/dev/null",
]
# When, what and why, of attempts, of the account's breaker and of its quota.
_TIMELINE = """
    SELECT started_at AS at, 'job ' || job_id || ' attempt ' || number || ' starts' AS what FROM attempts
    UNION ALL
    SELECT ended_at, 'job ' || job_id || ' attempt ' || number || ' ends: ' || outcome
        || CASE WHEN parked_until IS NULL THEN '' ELSE ', until ' || substr(parked_until, 12, 8) END FROM attempts
    UNION ALL
    SELECT at, scope || ' ' || from_state || ' -> ' || to_state FROM breaker_events
    UNION ALL
    SELECT at, 'account:' || account || ' quota: ' || reason FROM quota_events
    ORDER BY 1
"""


def main() -> int:
    """Run it; the exit code is that of `bakeoff run`."""
    args = scripted.parser(__doc__, "compressed-night").parse_args()
    work = args.directory.resolve()
    shutil.rmtree(work, ignore_errors=True)
    env = scripted.environment(work)
    with scripted.models(_HERE / "models.yaml", work, env) as port:
        _make_target(work / "target")
        values = {"agent": args.agent, "repeats": args.repeats}
        file = scripted.fill_in(_HERE, work, {_PORT_IN_FLEET: str(port)}, values)
        code = scripted.bakeoff(env, "run", str(file), "--html", str(work / "report.html"))
        if not code:
            scripted.bakeoff(env, "status", "compressed-night")
    if not code:
        print_timeline(work / "home" / "bakeoff.db")
    return code


def _make_target(repo: Path) -> None:
    repo.mkdir(parents=True)
    (repo / "TASK.md").write_text("Take three steps.\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "GIT_CONFIG_GLOBAL": os.devnull}
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "A task"]):
        subprocess.run([*_GIT, *arguments], cwd=repo, env=env, check=True)


def print_timeline(database: Path) -> None:
    """What happened when, as the results database tells it."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    print("\ntime (UTC)    what")
    for at, what in connection.execute(_TIMELINE):
        if at is not None:
            print(f"{at[11:23]:<12}  {what}")
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
