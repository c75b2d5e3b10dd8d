"""The demo's targets and scripted models tell the story that examples/demo/README.md tells."""

import importlib.util
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from ruamel.yaml import YAML

from orchestrator.domain.experiment import Experiment
from workers.gateway.script import Match, Rule, load_script
from workers.loops.prompts import render

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
MODELS = {"opus": "claude-opus-4-6", "sonnet": "claude-sonnet-4-5", "devstral": "devstral-small-2"}

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("git", "make", "cc", "bash")),
    reason="the demo targets need git, make, a C compiler and bash",
)


@cache
def make_targets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_targets", DEMO / "make_targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_target(name: str, parent: Path) -> Path:
    made = make_targets().make_target(name, parent)
    assert isinstance(made, Path)
    return made


def experiment() -> Experiment:
    return Experiment.model_validate(YAML(typ="safe").load(DEMO / "experiment.yaml"))


def checks(repo: Path) -> dict[str, bool]:
    """Every check of the experiment file, run in the target as it now is."""
    target = next(item for item in experiment().targets if item.label == repo.name)
    return {name: shell(check.run, repo).returncode == 0 for name, check in target.checks.items()}


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def holds(match: Match, prompt: str) -> bool:
    """Whether a rule plays for a conversation that consists of this prompt."""
    low = prompt.lower()
    assert match.prompt is match.last is match.regex is None, "the demo's rules use `stage` and `first` only"
    return (match.stage is None or f"stage: {match.stage}" in low) and (match.first or "").lower() in low


def rule_for(model: str, prompt: str) -> Rule:
    rules = load_script(DEMO / "models.yaml").models[MODELS[model]]
    return next(rule for rule in rules if holds(rule.match, prompt))


def plan_of(model: str, repo: Path) -> str:
    rule = rule_for(model, render("plan", task=(repo / "TASK.md").read_text()))
    return rule.turns[-1].say or ""


def build_rule(reasoning: str, build: str, repo: Path) -> Rule:
    task = (repo / "TASK.md").read_text()
    plan = plan_of(reasoning, repo)
    return rule_for(build, render("build", task=task, plan=plan, progress="Nothing has been built yet."))


def play(rule: Rule, repo: Path) -> None:
    """Run the commands of a rule as an agent would."""
    for turn in rule.turns:
        if turn.bash:
            assert shell(turn.bash, repo).returncode == 0


GOOD_C = {"build": True, "test": True, "old-symbols-gone": True}
GOOD_PY = {"build": True, "test": True, "old-tests": True}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("shapes-c", GOOD_C | {"old-symbols-gone": False}), ("ledger-py", GOOD_PY | {"test": False})],
)
def test_base_fails_only_the_check_that_the_task_is_about(
    tmp_path: Path, name: str, expected: Mapping[str, bool]
) -> None:
    assert checks(make_target(name, tmp_path)) == expected


@pytest.mark.parametrize("name", ["shapes-c", "ledger-py"])
def test_target_is_the_same_commit_wherever_it_is_made(tmp_path: Path, name: str) -> None:
    heads = [
        shell("git rev-parse main && git status --porcelain", make_target(name, tmp_path / place)).stdout
        for place in ("a", "b")
    ]
    assert heads[0] == heads[1]
    assert len(heads[0].split()) == 1


@pytest.mark.parametrize(
    ("reasoning", "build", "name", "expected"),
    [
        ("opus", "opus", "shapes-c", GOOD_C),
        ("opus", "opus", "ledger-py", GOOD_PY),
        ("opus", "sonnet", "shapes-c", GOOD_C),
        ("opus", "sonnet", "ledger-py", GOOD_PY),
        ("sonnet", "sonnet", "shapes-c", GOOD_C),
        ("sonnet", "sonnet", "ledger-py", GOOD_PY | {"test": False}),
        ("opus", "devstral", "shapes-c", GOOD_C),
        ("sonnet", "devstral", "shapes-c", GOOD_C | {"old-symbols-gone": False}),
    ],
)
def test_finished_builds_pass_and_fail_as_the_demo_says(
    tmp_path: Path, reasoning: str, build: str, name: str, expected: Mapping[str, bool]
) -> None:
    repo = make_target(name, tmp_path)

    play(build_rule(reasoning, build, repo), repo)

    assert checks(repo) == expected
    changed = shell("git status --porcelain", repo).stdout
    assert changed, "the scripted commands must leave a diff"
    assert "TASK.md" not in changed


def test_unfinished_stages_meet_the_guard_that_the_demo_says(tmp_path: Path) -> None:
    shapes, ledger = make_target("shapes-c", tmp_path), make_target("ledger-py", tmp_path)

    loops = build_rule("devstral", "devstral", shapes).turns[-1]
    assert (loops.repeat, "{{turn}}" in (loops.bash or "")) == ("forever", False)

    silent = rule_for("devstral", render("plan", task=(ledger / "TASK.md").read_text())).turns
    assert [turn.silence for turn in silent] == ["start"]

    for planner in ("opus", "sonnet"):
        fills = build_rule(planner, "devstral", ledger).turns
        shares = [100 * (turn.usage.prompt_tokens or 0) / 98_304 for turn in fills]
        # Nothing between the compaction and the kill threshold: an agent that compacts would save itself.
        assert [share for share in shares if 85 <= share < 95] == []
        assert shares[-1] >= 95


def test_one_build_meets_a_rate_limit_and_goes_on(tmp_path: Path) -> None:
    first = build_rule("opus", "opus", make_target("ledger-py", tmp_path)).turns[0]

    assert first.error is not None
    assert (first.error.kind, first.error.retry_after, first.error.times) == ("rate_limit", 2.0, 1)
