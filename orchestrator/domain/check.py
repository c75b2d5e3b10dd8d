"""Checks: what a user asks for, how one can end, and when a failed one that passed later counts as passed."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.domain.base import InsidePath, Model, Text
from orchestrator.domain.durations import Seconds


class CheckStatus(StrEnum):
    """An ERROR says nothing about the work; a time-out is a FAIL, with the reason `timeout`."""

    PASS = "pass"  # noqa: S105 - a status, not a secret
    FAIL = "fail"
    ERROR = "error"  # could not be started, or its process tree was ended from outside
    NOT_RUN = "not_run"  # an order to end came, or setup failed, before its turn


class ReportFormat(StrEnum):
    """How a check tells its test cases. NONE: it tells none, whatever its output looks like."""

    JUNIT = "junit"
    PYTEST = "pytest"
    UNITTEST = "unittest"
    GO = "go"
    TAP = "tap"
    NONE = "none"


class Report(Model):
    """Where the cases of a check stand. Written `tap`, or `{junit: report.xml}`.

    `file` is a path in the checkout; None is the command's own output.
    """

    format: ReportFormat
    file: InsidePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        if isinstance(value, str):
            return {"format": value}
        if isinstance(value, Mapping) and len(value) == 1 and "format" not in value:
            ((name, file),) = value.items()
            return {"format": name, "file": file}
        return value


class _CheckRules(Model):
    run: Text
    timeout: Seconds = 300.0
    hidden: bool = Field(
        False, strict=True, description="The agent's side never hears of it; it runs after the rest."
    )
    report: Report | None = Field(
        None, description="Default: recognised from the output, where that is unmistakable."
    )
    reruns: int = Field(0, ge=0, le=10, strict=True, description="A failed run is repeated at most so often.")
    flaky: Literal["pass", "fail"] = Field(
        "pass", description="What a check counts as that passed only when repeated."
    )

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        return {"run": value} if isinstance(value, str) else value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Check(_CheckRules):
    """A named check: a shell command of the user's, run in a clean checkout of the final commit. Exit 0 = pass.

    Written as text it is the command.
    """

    files: Annotated[tuple[Text, ...], BeforeValidator(_one_or_more)] = Field(
        (), description="Only with 'hidden': files and folders beside this file that are put into the checkout."
    )

    @model_validator(mode="after")
    def _files_are_hidden(self) -> "Check":
        if self.files and not self.hidden:
            raise ValueError("'files' only with 'hidden: true': what a visible check uses is in the repository")
        return self


class HiddenPack(Model):
    """The hidden files of a check as they were at submit, by the hash of names, modes and contents."""

    sha256: str
    files: int
    size_bytes: int


class PinnedCheck(_CheckRules):
    """A check as a job carries it: its files are named by their hash and come from the database."""

    pack: HiddenPack | None = None


class Verdict(Model):
    """What all runs of a check say together. `runs` counts those that gave an answer."""

    status: CheckStatus
    runs: int
    passed_runs: int

    @property
    def flaky(self) -> bool:
        """It failed and passed on the same commit."""
        return 0 < self.passed_runs < self.runs


def goes_on(check: PinnedCheck, statuses: Sequence[CheckStatus]) -> bool:
    """Whether a check is run again after these runs: only what failed is, and only so often."""
    return bool(statuses) and statuses[-1] is CheckStatus.FAIL and len(statuses) <= check.reruns


def verdict(check: PinnedCheck, statuses: Sequence[CheckStatus]) -> Verdict:
    """The check's end after its last run.

    A run that gave no answer after one that failed takes nothing back: the check failed.
    """
    answers = [status for status in statuses if status in (CheckStatus.PASS, CheckStatus.FAIL)]
    passed = answers.count(CheckStatus.PASS)
    if not answers:
        status = statuses[-1] if statuses else CheckStatus.NOT_RUN
    elif passed == len(answers) or (passed and check.flaky == "pass"):
        status = CheckStatus.PASS
    else:
        status = CheckStatus.FAIL
    return Verdict(status=status, runs=len(answers), passed_runs=passed)
