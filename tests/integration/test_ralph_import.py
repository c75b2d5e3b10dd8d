"""Coming from ralph, as a user does it: files are imported, validated and planned; results imported and exported."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.repos import git

CONF = """
TARGET_REPO="$HOME/target"
BASE_REF="main"
SPEC="greet.md"
PROFILES="hybrid opus"
MAX_ITERATIONS=2
BUILD_CMD="touch $(echo built)"
"""
GOOD = CONF.replace("$(echo built)", "built")
PROFILES = """
[profiles.opus]
model = "anthropic/opus"
[profiles.hybrid]
model = "anthropic/opus"
model_build = "vllm:small"
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        (tmp_path / "experiment_001-greet.conf").write_text(GOOD)
        (tmp_path / "config.toml").write_text(PROFILES)
        yield one


def imported(lab: Lab, *more: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = lab.bakeoff("import", "ralph", "experiment_001-greet.conf", "--profiles", "config.toml", "--json", *more)
    return done.code, json.loads(done.out) if done.out else {}


def test_an_import_is_valid_and_planned_once_its_spec_is_at_the_base(lab: Lab) -> None:
    code, told = imported(lab)
    assert code == ExitCode.OK
    file = lab.root / "001-greet" / "experiment.yaml"
    assert lab.bakeoff("validate", str(file)).code == ExitCode.OK
    (missing,) = [one for one in told["findings"] if one["kind"] == "spec_missing"]
    assert missing["found"] == "the spec ralph/specs/greet.md does not exist at its base main"
    assert lab.bakeoff("plan", str(file)).code == ExitCode.INVALID_INPUT

    (lab.target / "ralph" / "specs").mkdir(parents=True)
    (lab.target / "ralph" / "specs" / "greet.md").write_text("Greet.")
    git(lab.target, "add", "-A")
    git(lab.target, "commit", "-q", "-m", "spec")
    code, told = imported(lab)
    assert code == ExitCode.OK
    assert [one["kind"] for one in told["findings"] if one["kind"].startswith(("spec", "base", "repo"))] == []
    planned = lab.bakeoff("plan", str(file), "--json")
    assert planned.code == ExitCode.OK, planned.err
    assert {job["profile"]: job["needs"] for job in json.loads(planned.out)["jobs"]} == {
        "hybrid": ["account:anthropic", "pool:vllm"],
        "opus": ["account:anthropic"],
    }


def test_a_base_that_does_not_exist_is_reported(lab: Lab) -> None:
    _, told = imported(lab, "--set", "BASE_REF=nowhere")
    assert "base_unknown" in [one["kind"] for one in told["findings"]]


def test_commands_in_a_conf_are_refused_and_never_run(lab: Lab) -> None:
    (lab.root / "bad.conf").write_text(CONF)
    done = lab.bakeoff("import", "ralph", "bad.conf")
    assert (done.code, done.out) == (ExitCode.INVALID_INPUT, "")
    assert "bad.conf:7: BUILD_CMD: would run a command" in done.err
    assert not (lab.root / "bad").exists()


def test_other_files_are_not_written_over(lab: Lab) -> None:
    assert imported(lab)[0] == ExitCode.OK
    assert imported(lab)[0] == ExitCode.OK, "the same again is no conflict"
    assert imported(lab, "--set", "MAX_ITERATIONS=9")[0] == ExitCode.CONFLICT
    assert imported(lab, "--set", "MAX_ITERATIONS=9", "--force")[0] == ExitCode.OK
    assert "max_iterations: 27" in (lab.root / "001-greet" / "experiment.yaml").read_text()
