"""Runs an agent on a project from PyPI: `python examples/foreign-project/run.py`.

Downloads the source package of toolz in a pinned version, makes a git repository of it, and lets two scripted models
rename a function across its modules and tests. The project's own test-suite judges. All of it is under one directory.
"""

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent))

import published  # noqa: E402
import scripted  # noqa: E402

_PORT_IN_FLEET = "47801"


def main() -> int:
    """Run it; the exit code is that of `bakeoff run`, or NO_DOWNLOAD."""
    args = scripted.parser(__doc__, "foreign-project").parse_args()
    work = args.directory.resolve()
    env = scripted.environment(work)
    agent = args.agent or scripted.installed_agent(env)
    try:
        package = published.download(work)
    except subprocess.CalledProcessError as error:
        print(f"foreign-project: the download failed:\n{error.stderr}", file=sys.stderr)
        return published.NO_DOWNLOAD
    published.make_repository(package, work / "toolz")
    with scripted.models(_HERE / "models.yaml", work, env) as port:
        paths = {"LIBRARY": str(work / "library"), "PYTHON -": f"{sys.executable} -", _PORT_IN_FLEET: str(port)}
        file = scripted.fill_in(_HERE, work, paths, {"agent": agent, "repeats": args.repeats})
        print(f"foreign-project: {published.PROJECT} with agent {agent}", flush=True)
        return scripted.bakeoff(env, "run", str(file), "--html", str(work / "report.html"))


if __name__ == "__main__":
    sys.exit(main())
