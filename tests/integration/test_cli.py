"""Every command as a program: exit codes, data on standard output, talk on standard error, never a traceback."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import BAKEOFF, Lab
from tests.support.repos import git

COMMANDS = (
    "run",
    "validate",
    "plan",
    "submit",
    "status",
    "why",
    "watch",
    "report",
    "analyze",
    "import",
    "export",
    "reprice",
    "pause",
    "resume",
    "drain",
    "cancel",
    "requeue",
    "prioritize",
    "retune",
    "worker",
    "scheduler",
    "flower",
    "web",
    "notify",
    "metrics",
    "doctor",
    "gc",
    "timeline",
    "simulate",
    "schema",
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        one.write_fleet(models={"other": {"account": "cloud"}})
        one.write(profiles={"one": "model", "two": "other"})
        yield one


def test_help_names_every_command_and_each_explains_itself(lab: Lab) -> None:
    overview = lab.bakeoff("--help")
    assert overview.code == ExitCode.OK
    assert overview.err == ""
    listed = overview.out.partition("Commands:")[2]
    assert tuple(re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE)) == COMMANDS
    for command in COMMANDS:
        told = lab.bakeoff(command, "--help")
        assert (told.code, told.err) == (ExitCode.OK, ""), command
        assert told.out.startswith(f"Usage: bakeoff {command}"), told.out


def test_a_command_that_is_started_says_what_a_forked_one_says(lab: Lab) -> None:
    for arguments in (["--help"], ["validate", "--json", str(lab.file)], ["why", "1"], ["report", "--nothing"]):
        assert lab.end_of(lab.start(*arguments)) == lab.bakeoff(*arguments)


def test_usage_errors_are_2_and_name_what_is_wrong(lab: Lab) -> None:
    for arguments in (
        ["nothing"],
        ["run"],
        ["report", "--nothing"],
        ["schema", "database"],
        ["cancel", "--job", "x"],
    ):
        done = lab.bakeoff(*arguments)
        assert (done.code, done.out) == (ExitCode.USAGE, ""), arguments
        assert "Usage:" in done.err
        assert "Error: " in done.err


def test_before_anything_was_submitted(lab: Lab) -> None:
    for command in ("status", "watch", "report", "cancel", "requeue"):
        done = lab.bakeoff(command)
        assert (done.code, done.out) == (ExitCode.NOT_FOUND, ""), command
        assert "submit or run one first" in done.err


def test_the_file_commands_from_validate_to_submit(lab: Lab) -> None:
    file = str(lab.file)
    assert lab.bakeoff("validate", file).out == f"{file}: valid. Experiment 'lab', 2 jobs.\n"
    assert document(lab, "validate", file) == {"valid": True, "experiment": "lab", "jobs": 2}
    plan = document(lab, "plan", file)
    assert [(job["state"], job["needs"]) for job in plan["jobs"]] == [("new", ["account:cloud"])] * 2
    assert plan["targets"] == {"target": git(lab.target, "rev-parse", "HEAD").strip()}
    assert plan["missing_agents"] == {}
    table = lab.bakeoff("plan", file)
    assert table.code == ExitCode.OK
    assert "two" in table.out
    assert lab.results.jobs() == []
    assert document(lab, "submit", file) == {
        "experiment": "lab",
        "added": 2,
        "jobs": 2,
        "no_longer_in_file": 0,
        "forgotten": [],
    }
    assert document(lab, "submit", file)["added"] == 0
    lab.write(profiles={"one": "model"})
    fewer = lab.bakeoff("submit", file)
    assert fewer.out == "lab: 0 jobs added, 1 were there already.\n"
    assert "1 stored jobs are no longer in the file" in fewer.err


def test_what_people_do_to_jobs(lab: Lab) -> None:
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    first, second = (row["id"] for row in lab.results.jobs())
    assert document(lab, "cancel", "--profile", "one") == {"cancelled": 1, "asked_to_end": 0}
    assert document(lab, "cancel", "--job", str(second), "--reason", "too dear") == {
        "cancelled": 1,
        "asked_to_end": 0,
    }
    assert [row["detail"] for row in lab.results.jobs()] == ["cancelled on request", "too dear"]
    status = document(lab, "status", "lab")
    assert [(job["job_id"], job["state"]) for job in status["jobs"]] == [(first, "cancelled"), (second, "cancelled")]
    assert lab.bakeoff("watch").code == ExitCode.OK, "everything has ended, so there is nothing to wait for"
    assert document(lab, "requeue", str(lab.file)) == {"requeued": 2}
    assert [row["state"] for row in lab.results.jobs()] == ["ready"] * 2
    assert lab.bakeoff("cancel").out == "2 waiting jobs cancelled, 0 running jobs asked to end.\n"
    assert lab.bakeoff("status", "nobody").code == ExitCode.NOT_FOUND


@pytest.mark.parametrize("command", ["status", "report", "watch", "cancel", "requeue"])
def test_an_experiment_that_is_not_there(lab: Lab, command: str) -> None:
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    done = lab.bakeoff(command, "nobody", "--json")
    assert (done.code, done.out) == (ExitCode.NOT_FOUND, "")
    told = json.loads(done.err)["error"]
    assert told["kind"] == "not_found"
    assert "nobody" in told["message"]


def test_the_report_in_every_form(lab: Lab) -> None:
    assert lab.run().code == ExitCode.OK
    page = lab.root / "deep" / "report.html"
    assert "No ranking is claimed" in lab.bakeoff("report").out
    markdown = lab.bakeoff("report", "lab", "--markdown", "--html", str(page))
    assert markdown.out.startswith("# ")
    assert f"report: {page}" in markdown.err
    assert page.read_text().startswith("<!doctype html>")
    assert document(lab, "report")
    refused = lab.bakeoff("report", "--html", "/proc/nowhere/report.html")
    assert refused.code == ExitCode.UNAVAILABLE
    assert "/proc/nowhere/report.html" in refused.err


def test_doctor_says_what_is_missing(lab: Lab) -> None:
    plain = document(lab, "doctor")
    assert {finding["name"]: finding["ok"] for finding in plain} == {
        "git": True,
        "bash": True,
        "broker": True,
        "database": True,
        "disk": True,
    }
    done = lab.bakeoff("doctor", str(lab.file), "--json")
    assert done.code == ExitCode.UNAVAILABLE, "nothing listens where the fleet file says"
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert found["agent quick"]["ok"] is True
    assert found["target target"]["ok"] is True
    assert found["account cloud"]["ok"] is False
    assert "127.0.0.1:9" in found["account cloud"]["text"]


def test_schemas_are_json(lab: Lab) -> None:
    for kind in ("experiment", "fleet"):
        assert document(lab, "schema", kind, flag=False)["type"] == "object"


def test_completion_script(lab: Lab) -> None:
    for name in ("bash", "zsh", "fish"):
        done = lab.bakeoff(env={"_BAKEOFF_COMPLETE": f"{name}_source"})
        assert done.code == ExitCode.OK, done.err
        assert "_bakeoff_completion" in done.out
    words = lab.bakeoff(env={"_BAKEOFF_COMPLETE": "bash_complete", "COMP_WORDS": "bakeoff re", "COMP_CWORD": "1"})
    assert words.out.split() == ["plain,report", "plain,reprice", "plain,resume", "plain,requeue", "plain,retune"]


def test_a_reader_that_leaves_is_no_error(lab: Lab) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {BAKEOFF} schema experiment | head -n 1"],
        env=lab.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def document(lab: Lab, *arguments: str, flag: bool = True) -> Any:
    """What a command prints as JSON; it says nothing else on standard output and succeeds."""
    done = lab.bakeoff(*arguments, *(["--json"] if flag else []))
    assert done.code == ExitCode.OK, done.err
    return json.loads(done.out)
