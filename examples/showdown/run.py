"""Three real agents against each other on a project from PyPI: `python examples/showdown/run.py`.

opencode, Codex and Claude Code, each with two scripted models, rename a function across the project. They speak three
protocols, so the report compares what the same work costs in requests, tokens and time. `make agents` installs them.
"""

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent))

import published  # noqa: E402
import scripted  # noqa: E402

_PORT_IN_FLEET = "47803"


def main() -> int:
    """Run it; the exit code is that of `bakeoff run`, or NO_DOWNLOAD."""
    args = scripted.parser(__doc__, "showdown", agent=False).parse_args()
    work = args.directory.resolve()
    env = scripted.environment(work)
    try:
        package = published.download(work)
    except subprocess.CalledProcessError as error:
        print(f"showdown: the download failed:\n{error.stderr}", file=sys.stderr)
        return published.NO_DOWNLOAD
    published.make_repository(package, work / "toolz")
    with scripted.models(_HERE / "models.yaml", work, env) as port:
        paths = {"LIBRARY": str(work / "library"), "PYTHON -": f"{sys.executable} -", _PORT_IN_FLEET: str(port)}
        file = scripted.fill_in(_HERE, work, paths, {"repeats": args.repeats})
        return scripted.bakeoff(env, "run", str(file), "--html", str(work / "report.html"))


if __name__ == "__main__":
    sys.exit(main())
