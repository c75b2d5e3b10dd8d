"""Runs the demo from nothing to a report: `make demo`.

Makes the two target repositories, starts the scripted model server on a free port, and then runs the very command
that a user would, `bakeoff run`. Everything it writes is under `.bakeoff/demo/`.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import make_targets

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE.parent))

import scripted  # noqa: E402

_PORT_IN_FLEET = "47800"


def main() -> int:
    """Run it; the exit code is that of `bakeoff run`."""
    args = _arguments()
    work = args.directory.resolve()
    if not args.keep:
        shutil.rmtree(work, ignore_errors=True)
    env = scripted.environment(work)
    agent = args.agent or scripted.installed_agent(env)
    began = time.monotonic()
    with scripted.models(_HERE / "models.yaml", work, env) as port:
        for name in make_targets.target_names():
            make_targets.make_target(name, work / "targets")
        values = {"agent": agent, "repeats": args.repeats}
        file = scripted.fill_in(_HERE, work, {_PORT_IN_FLEET: str(port)}, values)
        print(f"demo: {file} with agent {agent}", flush=True)
        code = scripted.bakeoff(env, "run", str(file), "--html", str(work / "report.html"))
    if not code:
        print(f"\ndemo: {time.monotonic() - began:.0f} s; the report with its plots is {work / 'report.html'}")
    return code


def _arguments() -> argparse.Namespace:
    parser = scripted.parser(__doc__, "demo")
    parser.add_argument("--keep", action="store_true", help="keep earlier results: only what is missing is run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
