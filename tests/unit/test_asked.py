"""When the last answer of the loop's checks is the final one, and when they run again."""

import pytest

from orchestrator.domain.check import CheckStatus, PinnedCheck
from orchestrator.domain.jobspec import JobSpec, TargetSpec
from orchestrator.domain.limits import Limits
from workers.asked import Asked
from workers.checks import CheckResult

RESULTS = (CheckResult(name="unit", status=CheckStatus.PASS), CheckResult(name="lint", status=CheckStatus.FAIL))
CHECKS = {"unit": PinnedCheck(run="make test"), "lint": PinnedCheck(run="make lint")}


def spec(*, hidden: bool = False, setup_timeout: float = 600.0) -> JobSpec:
    more = {"secret": PinnedCheck(run="sh secret.sh", hidden=True)} if hidden else {}
    return JobSpec(
        experiment="e",
        target=TargetSpec(label="t", source="s", base="main", sha="0" * 40, task_text="", checks=CHECKS | more),
        profile="p",
        agent="reference",
        agent_version=None,
        models={},
        loop="tasks",
        max_builds=1,
        limits=Limits(setup_timeout=setup_timeout),
    )


def asked(sha: str = "one", results: tuple[CheckResult, ...] = RESULTS) -> Asked:
    return Asked(sha=sha, setup_timeout_seconds=600.0, results=results)


def test_the_same_checks_of_the_same_commit_are_not_run_twice() -> None:
    assert asked().final(spec(), "one", []) == RESULTS
    assert asked("zero").again(asked()).final(spec(), "one", []) == RESULTS


@pytest.mark.parametrize(
    ("answer", "job", "sha", "restored"),
    [
        (asked(), spec(), "two", []),
        (asked(), spec(), "one", ["tests/a.py"]),
        (asked(), spec(hidden=True), "one", []),
        (asked(), spec(setup_timeout=1.0), "one", []),
        (asked().again(asked()), spec(), "one", []),
        (asked(results=RESULTS[:1]), spec(), "one", []),
        (asked(results=(RESULTS[0], CheckResult(name="lint", status=CheckStatus.ERROR))), spec(), "one", []),
        (asked(results=(RESULTS[0], CheckResult(name="lint", status=CheckStatus.NOT_RUN))), spec(), "one", []),
    ],
    ids=["commit", "restored", "hidden", "limit", "asked twice", "one is missing", "no answer", "not run"],
)
def test_whatever_differs_makes_them_run_again(answer: Asked, job: JobSpec, sha: str, restored: list[str]) -> None:
    assert answer.final(job, sha, restored) is None
