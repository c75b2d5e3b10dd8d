"""From an experiment.conf of ralph's to a report: import, plan, run with scripted models, export.

The target is the demo's small C project with a spec where ralph looks for one. Everything is under
`.bakeoff/come-from-ralph/`.
"""

import re
import shutil
import sys
from pathlib import Path

import git

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent), str(_HERE.parent / "demo")]

import make_targets  # noqa: E402
import scripted  # noqa: E402

_SPEC = "ralph/specs/system-architecture-refactor.md"
_TAG = "ralph-experiment-refactor-spec"


def main() -> int:
    """Run it; the exit code is that of the command that failed, or 0."""
    parser = scripted.parser(__doc__, "come-from-ralph")
    parser.add_argument("--conf", type=Path, default=_HERE / "001-profile-showdown" / "experiment.conf")
    args = parser.parse_args()
    work = args.directory.resolve()
    shutil.rmtree(work, ignore_errors=True)
    env = scripted.environment(work)
    with scripted.models(_HERE / "models.yaml", work, env) as port:
        repo = _target(work)
        options = ["--name", "001-profile-showdown", "-o", str(work), "--profiles", str(_HERE / "config.toml")]
        options += ["--set", f"TARGET_REPO={repo}", "--set", "BUILD_CMD=make -s"]
        code = scripted.bakeoff(env, "import", "ralph", str(args.conf), *options)
        if code:
            return code
        _fill_in(work, port, {"agent": args.agent or scripted.installed_agent(env)}, args.repeats)
        file = str(work / "experiment.yaml")
        for command in (["plan", file], ["run", file, "--html", str(work / "report.html")]):
            if code := scripted.bakeoff(env, *command):
                return code
        return scripted.bakeoff(env, "export", "ralph", "001-profile-showdown", "-o", str(work / "ledger"))


def _target(work: Path) -> Path:
    """The C project, with its task as a spec of ralph's at a tag."""
    path = make_targets.make_target("shapes-c", work / "targets")
    (path / _SPEC).parent.mkdir(parents=True)
    (path / _SPEC).write_text((path / "TASK.md").read_text())
    with git.Repo(path) as repo:
        repo.index.add([_SPEC])
        repo.index.commit("The spec")
        repo.create_tag(_TAG)
    return path


def _fill_in(work: Path, port: int, values: dict[str, str], repeats: int | None) -> None:
    """What a user does by hand after an import: the servers' addresses and, here, the agent that is installed."""
    fleet = (work / "fleet.toml").read_text()
    fleet = re.sub(r'base_url = ".*"', f'base_url = "http://127.0.0.1:{port}"', fleet)
    fleet = re.sub(r'protocol = ".*"', 'protocol = "chat"', fleet)
    (work / "fleet.toml").write_text(re.sub(r"key = .*\n", "", fleet))
    experiment = (work / "experiment.yaml").read_text()
    for key, value in values.items():
        experiment = re.sub(rf"(?m)^{key}: .*$", f"{key}: {value}", experiment)
    if repeats:
        experiment += f"repeats: {repeats}\n"
    (work / "experiment.yaml").write_text(experiment)


if __name__ == "__main__":
    sys.exit(main())
