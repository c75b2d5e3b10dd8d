"""What only a machine can answer before anything is paid: bases as SHAs, task files at them, agents' versions.

Run as `python -m workers.preflight`: one JSON request on standard input, one JSON answer on standard output. It is a
process of its own because `orchestrator` does not import `workers`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.experiment import CommandAgent
from orchestrator.domain.preflight import AgentAnswer, Answer, Problem, Question, TargetAnswer, TargetQuestion
from orchestrator.settings import Settings, child_environment, host_environment, load_settings
from workers.agents.environment import find_program
from workers.agents.registry import adapter
from workers.loops.prompts import prompts_hash
from workers.worktrees.git import Git, GitError
from workers.worktrees.mirror import Mirror
from workers.worktrees.sources import BadSource, inspect_source

_TASK_LIMIT_BYTES = 1024 * 1024


def answer(question: Question, settings: Settings) -> Answer:
    """Answer every part; what is wrong is a problem in the answer, never an exception."""
    git = Git(host_env=child_environment())
    problems: list[Problem] = []
    targets: dict[str, TargetAnswer] = {}
    for target in question.targets:
        found = _pin(target, settings, git)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            targets[target.label] = found
    agents = {}
    env = host_environment(settings.home)
    for name, command in question.agents.items():
        one = adapter(name, command)
        version = one.version(env)
        installed = version is not None or (command is not None and _runs_unversioned(command, env))
        agents[name] = AgentAnswer(
            installed=installed, version=version, hint=one.install_hint(), protocols=one.protocols
        )
    return Answer(targets=targets, agents=agents, problems=tuple(problems), prompts_hash=prompts_hash())


def _runs_unversioned(command: CommandAgent, env: Mapping[str, str]) -> bool:
    """Whether an agent that cannot be asked for its version can be started."""
    program = command.command[0]
    return command.version is None and ("{" in program or find_program(program, env) is not None)


def _pin(target: TargetQuestion, settings: Settings, git: Git) -> TargetAnswer | Problem:
    def problem(field: str, message: str, found: str | None = None) -> Problem:
        return Problem(label=target.label, field=field, message=message, found=found)

    field = "worktree" if target.worktree else "repo"
    try:
        info = inspect_source(target.source, relative_to=Path.cwd(), git=git)
        if target.worktree and not info.clean:
            listed = ", ".join(info.dirty_paths)
            return problem(field, f"the worktree has changes that no commit holds; commit or stash them: {listed}")
        mirror = Mirror(settings.mirrors, info.source, git)
        sha = mirror.resolve(target.base)
        if sha is None:
            return problem("base", f"no such branch, tag or commit in {target.source}", target.base)
        if target.task is None:
            return TargetAnswer(sha=sha, task_text=target.prompt or "")
        content = mirror.read_file(sha, target.task)
    except BadSource as error:
        return problem(field, error.reason, target.source)
    except (GitError, Unavailable, OSError) as error:
        return problem(field, str(error), target.source)
    if content is None:
        return problem("task", f"no such file at {target.base} ({sha[:12]}); commit it there", target.task)
    if len(content) > _TASK_LIMIT_BYTES:
        return problem("task", f"the task file has {len(content)} bytes; at most {_TASK_LIMIT_BYTES}", target.task)
    try:
        return TargetAnswer(sha=sha, task_text=content.decode("utf-8"))
    except UnicodeDecodeError:
        return problem("task", "the task file is not UTF-8 text", target.task)


def main() -> None:
    """Standard input to standard output."""
    question = Question.model_validate_json(sys.stdin.read())
    sys.stdout.write(answer(question, load_settings()).model_dump_json())


if __name__ == "__main__":
    main()
