"""Coming from ralph, as a user does it: files are imported, validated and planned; results imported and exported."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import Conflict, ExitCode, InvalidInput, NotFound
from orchestrator.interop.input_file import read_file
from orchestrator.interop.ralph_import import import_conf, read_folder, write_texts
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


def test_an_import_is_planned_once_its_spec_is_at_the_base(lab: Lab) -> None:
    code, told = imported(lab, "--set", "BASE_REF=nowhere", "-o", "elsewhere")
    assert (code, [one["kind"] for one in told["findings"]][-1]) == (ExitCode.OK, "base_unknown")
    _, told = imported(lab)
    assert told["findings"][-1]["kind"] == "spec_missing"
    assert told["findings"][-1]["found"] == "the spec ralph/specs/greet.md does not exist at its base main"
    (lab.target / "ralph" / "specs").mkdir(parents=True)
    (lab.target / "ralph" / "specs" / "greet.md").write_text("Greet.")
    git(lab.target, "add", "-A")
    git(lab.target, "commit", "-q", "-m", "spec")
    planned = lab.bakeoff("plan", str(lab.root / "001-greet" / "experiment.yaml"), "--json")
    assert planned.code == ExitCode.OK, planned.err
    assert {job["profile"]: job["needs"] for job in json.loads(planned.out)["jobs"]} == {
        "hybrid": ["account:anthropic", "pool:vllm"],
        "opus": ["account:anthropic"],
    }


def test_a_relative_repository_counts_from_the_conf(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text(GOOD.replace("$HOME/target", "../there"))
    made = import_conf(tmp_path / "x.conf", name="x", profiles=None, overrides={}, harness=False)
    assert [one.read_as for one in made.findings if one.kind == "repo_relative"] == [str(tmp_path.parent / "there")]


def test_commands_in_a_conf_are_refused_and_never_run(lab: Lab) -> None:
    (lab.root / "bad.conf").write_text(CONF)
    done = lab.bakeoff("import", "ralph", "bad.conf")
    assert (done.code, done.out) == (ExitCode.INVALID_INPUT, "")
    assert "bad.conf:7: BUILD_CMD: would run a command" in done.err
    assert not (lab.root / "bad").exists()


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "experiment.conf")
    os.mkfifo(tmp_path / "runs.jsonl")
    for path in (tmp_path / "experiment.conf", Path("/dev/zero")):
        with pytest.raises(InvalidInput, match="is no regular file"):
            read_file(path)
    with pytest.raises(NotFound, match=r"there is no runs\.jsonl"):
        read_folder(tmp_path)


def test_other_files_are_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "new" / "experiment.yaml"
    write_texts({file: "one"}, force=False)
    write_texts({file: "one"}, force=False)
    with pytest.raises(Conflict, match="is there already"):
        write_texts({file: "two", tmp_path / "other": "two"}, force=False)
    assert (file.read_text(), (tmp_path / "other").exists()) == ("one", False)
    write_texts({file: "two"}, force=True)
    assert file.read_text() == "two"


def ledger(folder: Path) -> None:
    folder.mkdir()
    stages = [{"run_id": f"r{n}", "iteration": 1, "stage": "BUILD", "model": "vllm:x", "cost": 0.5} for n in (1, 2)]
    runs = [{"run_id": f"r{n}", "spec": "x.md", "profile": "p", "exit_reason": "complete"} for n in (1, 2)]
    for name, records in (("runs.jsonl", runs), ("iterations.jsonl", stages)):
        (folder / name).write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in records))


def test_a_ledger_is_stored_once_reported_and_given_back(lab: Lab) -> None:
    ledger(lab.root / "old")
    first = lab.bakeoff("import", "ralph-ledger", "old")
    assert (first.code, first.out.splitlines()[0]) == (ExitCode.OK, "old: 2 runs added, 0 were there already.")
    again = lab.bakeoff("import", "ralph-ledger", "old/runs.jsonl")
    assert again.out.splitlines()[0] == "old: 0 runs added, 2 were there already."
    assert [(row["repeat"], row["state"], row["outcome"]) for row in lab.results.jobs()] == [
        (1, "done", "complete"),
        (2, "done", "complete"),
    ]
    assert lab.bakeoff("report", "old").code == ExitCode.OK
    assert lab.bakeoff("why", "1").code == ExitCode.OK
    assert lab.bakeoff("export", "ralph", "old", "-o", "new").code == ExitCode.OK
    for name in ("runs.jsonl", "iterations.jsonl"):
        assert (lab.root / "new" / name).read_text() == (lab.root / "old" / name).read_text()
    assert lab.bakeoff("import", "ralph-ledger", "nowhere").code == ExitCode.NOT_FOUND


def test_imported_and_run_experiments_do_not_mix(lab: Lab) -> None:
    ledger(lab.root / "old")
    lab.bakeoff("import", "ralph-ledger", "old", "--name", "lab")
    lab.write()
    refused = lab.bakeoff("submit", str(lab.file))
    assert (refused.code, "was imported" in refused.err) == (ExitCode.CONFLICT, True)
    lab.write(experiment="mine")
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    refused = lab.bakeoff("import", "ralph-ledger", "old", "--name", "mine")
    assert (refused.code, "run here" in refused.err) == (ExitCode.CONFLICT, True)


def test_what_was_run_here_is_exported_in_the_same_form(lab: Lab) -> None:
    lab.write()
    assert lab.run().code == ExitCode.OK, lab.logs()
    assert lab.bakeoff("export", "ralph", "-o", "out").code == ExitCode.OK
    (run,) = [json.loads(line) for line in (lab.root / "out" / "runs.jsonl").read_text().splitlines()]
    (stage,) = [json.loads(line) for line in (lab.root / "out" / "iterations.jsonl").read_text().splitlines()]
    assert (run["profile"], run["exit_reason"], run["iterations"], run["cost"]) == ("one", "complete", 1, None)
    assert run["tokens"] == {"input": None, "cached": None, "output": None}, "what is unknown is null"
    assert run["stages"] == {"RUN": {"count": 1, "cost": None, "api_calls_remote": 0}}
    assert (stage["run_id"], stage["stage"], stage["outcome"]) == (run["run_id"], "RUN", "success")
    back = lab.bakeoff("import", "ralph-ledger", "out", "--name", "back")
    assert back.code == ExitCode.OK, back.err


_RALPH2 = """#!/bin/sh
[ "$1 $2" = "construct greet.md" ] || exit 2
mkdir -p "$RALPH_LOG_DIR"
echo "$RALPH_PROFILE" > profile.txt
for stage in BUILD VERIFY; do
    echo '{"run_id":"r","iteration":1,"stage":"'$stage'","outcome":"success","task_id":"t-1","cost":0.25}' \\
        >> "$RALPH_LOG_DIR/iterations.jsonl"
done
echo '{"run_id":"r","exit_reason":"complete"}' >> "$RALPH_LOG_DIR/runs.jsonl"
"""


def test_ralph_itself_is_run_as_one_command(lab: Lab) -> None:
    (lab.target / "ralph" / "specs").mkdir(parents=True)
    (lab.target / "ralph" / "specs" / "greet.md").write_text("Greet.")
    git(lab.target, "add", "-A")
    git(lab.target, "commit", "-q", "-m", "spec")
    tools = lab.root / "tools"
    tools.mkdir()
    (tools / "ralph2").write_text(_RALPH2)
    (tools / "ralph2").chmod(0o755)
    assert imported(lab, "--harness", "--set", "PROFILES=opus")[0] == ExitCode.OK
    file = lab.root / "001-greet" / "experiment.yaml"
    done = lab.bakeoff("run", str(file), env={"PATH": f"{tools}:{lab.env['PATH']}", "ANTHROPIC_API_KEY": "none"})
    assert done.code == ExitCode.OK, done.err + lab.logs()
    (attempt,) = lab.results.attempts()
    assert (attempt["outcome"], attempt["files_changed"]) == ("complete", 1)
    assert [(row["stage"], row["task"], row["stated_cost_usd_micros"]) for row in lab.results.stages()] == [
        ("harness", None, 0),
        ("build", "t-1", 250_000),
        ("verify", "t-1", 250_000),
    ]
