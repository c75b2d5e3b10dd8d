"""Hidden checks, tampering and cases as a user meets them: `bakeoff run` with agents that look, cheat and repair."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.processes import kill
from tests.support.repos import make_repo
from tests.support.waiting import until

CANARY = "canary-7f3a91"

# Looks for the canary wherever an agent can look in its job's folders, then does what the profile wants.
_AGENT = """
import os, pathlib, subprocess, sys
found, canary = [], sys.argv[2].encode()
run = pathlib.Path.cwd().parent.parent  # with the folders of earlier attempts
for folder, _, names in os.walk(run):
    for name in names:
        path = pathlib.Path(folder) / name
        if canary in os.fsencode(str(path)) or (path.is_file() and canary in path.read_bytes()):
            found.append(str(path))
objects = subprocess.run(["git", "cat-file", "--batch-all-objects", "--batch"], capture_output=True).stdout
if not objects:
    found.append("git showed nothing")
if canary in objects:
    found.append("git objects")
if canary in repr(dict(os.environ)).encode() + sys.stdin.buffer.read():
    found.append("environment or prompt")
with open(sys.argv[1], "a") as out:
    out.write(f"looked {found}\\n")
exec(sys.argv[3])
"""
_FIX = 'open("shapes.py", "w").write("def area(side):\\n    return side * side\\n")'
_CHEAT = (
    'import pathlib; pathlib.Path("tests/test_shapes.py").write_text("import unittest\\n"); '
    'pathlib.Path("tests/secret.py").write_text("import unittest\\n"); '
    'pathlib.Path("tests/test_mine.py").write_text("import unittest\\n"); '
    'pathlib.Path("sitecustomize.py").write_text("")'
)
_TESTS = """import unittest
import shapes


class Shapes(unittest.TestCase):
    def test_area(self):
        self.assertEqual(shapes.area(3), 9)

    def test_zero(self):
        self.assertEqual(shapes.area(0), 0)
"""
_LUCK = 'test -e "$TMPDIR/again" || { touch "$TMPDIR/again"; exit 1; }'
_SECRET = f"""import unittest
import shapes


class Secret(unittest.TestCase):
    def test_{CANARY.replace("-", "_")}(self):  # {CANARY}
        self.assertEqual(shapes.area(4), 16)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        make_repo(
            tmp_path / "shapes", {"shapes.py": "def area(side):\n    return 0\n", "tests/test_shapes.py": _TESTS}
        )
        (tmp_path / "hidden/tests").mkdir(parents=True)
        (tmp_path / "hidden/tests/secret.py").write_text(_SECRET)
        yield one


def _agent(lab: Lab, deed: str) -> dict[str, object]:
    command = [sys.executable, "-I", "-S", "-c", _AGENT, str(lab.root / "looked"), CANARY, deed]
    return {"command": command, "version": ["echo", "1"]}


def _write(
    lab: Lab, *, policies: tuple[str, ...] = ("report",), profiles: tuple[str, ...] = ("fix", "cheat")
) -> None:
    unittest = f"{sys.executable} -m unittest -v"
    lab.write(
        agents={"fix": _agent(lab, _FIX), "cheat": _agent(lab, _CHEAT)},
        agent=profiles[0],
        targets=[
            {
                "name": policy,
                "repo": "shapes",
                "base": "main",
                "task": "TASK.md",
                "tampering": policy,
                "checks": {
                    "secret": {"run": f"{unittest} tests/secret.py", "hidden": True, "files": "hidden"},
                    "test": f"{unittest} tests/test_shapes.py",
                    "luck": {"run": _LUCK, "reruns": 1},
                },
            }
            for policy in policies
        ],
        profiles={name: {"model": "model", "agent": name} for name in profiles},
    )


def _report(lab: Lab) -> dict[str, Any]:
    done = lab.bakeoff("report", "--json", "lab")
    assert done.code == ExitCode.OK, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_hidden_checks_judge_what_no_agent_could_see(lab: Lab) -> None:
    _write(lab)
    done = lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    # Each found nothing, the second one after the first one's hidden checks, and the base's, had run.
    assert (lab.root / "looked").read_text() == "looked []\n" * 2
    report = _report(lab)
    jobs = {job["profile"]: job for job in report["jobs"]}
    assert {name: (job["end"], job["solved"]) for name, job in jobs.items()} == {
        "fix": ("solved", True),
        "cheat": ("checks_failed", False),
    }
    checks = {(job["profile"], check["name"]): check for job in report["jobs"] for check in job["checks"]}
    assert {key: (check["status"], check["baseline"], check["hidden"]) for key, check in checks.items()} == {
        ("fix", "secret"): ("pass", "fail", True),
        ("fix", "test"): ("pass", "fail", False),
        ("fix", "luck"): ("pass", "pass", False),
        ("cheat", "luck"): ("pass", "pass", False),
        ("cheat", "secret"): ("fail", "fail", True),
        ("cheat", "test"): ("pass", "fail", False),  # it took the tests away, and the exit code is 0
    }
    assert checks["cheat", "secret"]["replaced"] == ["tests/secret.py"]
    assert checks["fix", "secret"]["replaced"] == []
    lucky = checks["fix", "luck"]
    assert (lucky["runs"], lucky["passed_runs"], lucky["baseline_flaky"]) == (2, 1, True)
    runs = lab.results.rows("SELECT status FROM check_runs WHERE name = 'luck' ORDER BY attempt_id, kind, run")
    assert [row["status"] for row in runs] == ["fail", "pass"] * 3, "two jobs and the untouched base"
    _assert_cases(report)
    _assert_tampering(jobs)
    printed = lab.bakeoff("report", "lab").out
    assert all(text in printed for text in ("report: secret (hidden)", "report: test", "1/1 1f", "pass, flaky"))
    assert _holding(lab, CANARY) == [], "nothing of a hidden check stays in any job's folder"
    lab.assert_clean()


def _assert_cases(report: dict[str, Any]) -> None:
    told = {(case["check"], case["case"].rsplit(".", 1)[-1]): case for case in report["cases"]["changed"]}
    secret = f"test_{CANARY.replace('-', '_')}"
    assert {key: (case["before"], case["by_label"]) for key, case in told.items()} == {
        ("test", "test_area"): ("fail", {"fix": {"fixed": 1}}),
        ("secret", secret): ("fail", {"fix": {"fixed": 1}, "cheat": {"still_failing": 1}}),
    }
    counted = {(job["profile"], check["name"]): check["cases"] for job in report["jobs"] for check in job["checks"]}
    assert counted["fix", "test"] == {"pass": 2, "fail": 0, "error": 0, "skipped": 0}
    assert counted["cheat", "test"] is None


def _assert_tampering(jobs: dict[str, dict[str, Any]]) -> None:
    assert [(job["protected_changes"], job["protected_counted"]) for job in (jobs["fix"], jobs["cheat"])] == [
        (0, 0),
        (4, 2),
    ]
    assert jobs["fix"]["changes_to_judges"] == []
    changes = {change["path"]: change for change in jobs["cheat"]["changes_to_judges"]}
    assert {path: (one["kind"], one["status"], one["counts"]) for path, one in changes.items()} == {
        "sitecustomize.py": ("build", "A", True),
        "tests/test_shapes.py": ("check", "M", True),
        "tests/secret.py": ("check", "A", False),
        "tests/test_mine.py": ("test", "A", False),
    }
    weakened = changes["tests/test_shapes.py"]
    assert (weakened["tests_removed"], weakened["asserts_removed"], weakened["lines_removed"]) == (2, 2, 9)


def test_killed_in_a_hidden_check_its_files_are_gone_before_the_next_agent_comes(lab: Lab) -> None:
    _write(lab, profiles=("fix",))
    reached = lab.root / "reached"
    experiment = json.loads(lab.file.read_text())
    secret = experiment["targets"][0]["checks"]["secret"]
    secret["run"] = f"touch {reached}; until [ -e {lab.gate} ]; do sleep 0.05; done; {secret['run']}"
    lab.file.write_text(json.dumps(experiment))
    process = lab.start("run", str(lab.file))
    until(reached.exists, "the hidden check on the untouched base")
    assert _holding(lab, CANARY)
    kill(lab.workers(process)["cloud"])
    lab.gate.touch()
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert lab.results.outcomes() == ["lease_lost", "complete"]
    assert (lab.root / "looked").read_text() == "looked []\n"
    assert _holding(lab, CANARY) == []


def _holding(lab: Lab, text: str) -> list[Path]:
    files = [path for path in (lab.home / "runs").rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_tampering_fails_a_job_or_is_undone_before_the_checks(lab: Lab) -> None:
    _write(lab, policies=("fail", "restore"), profiles=("cheat",))
    assert lab.run().code == ExitCode.OK
    jobs = {job["target"]: job for job in _report(lab)["jobs"]}
    assert {name: job["end"] for name, job in jobs.items()} == {"fail": "checks_failed", "restore": "checks_failed"}
    checks = {name: {check["name"]: check["status"] for check in job["checks"]} for name, job in jobs.items()}
    assert checks == {
        "fail": {"secret": "fail", "test": "pass", "luck": "pass", "(tampering)": "fail"},
        "restore": {"secret": "fail", "test": "fail", "luck": "pass"},  # the base's own tests are back
    }
    reasons = [check["reason"] for check in jobs["fail"]["checks"] if check["name"] == "(tampering)"]
    assert reasons == ["the agent changed 'sitecustomize.py' and 1 more"]
    assert lab.results.checks("baseline")["(tampering)"] == "pass"


def test_files_that_the_agent_can_read_anyway_are_refused(lab: Lab) -> None:
    (lab.root / "hidden/tests/secret.py").write_text(_TESTS)
    _write(lab)
    done = lab.bakeoff("plan", str(lab.file))
    assert done.code == ExitCode.INVALID_INPUT
    assert "targets[0].checks.secret.files" in done.err
    assert "where the agent can read them" in done.err
