"""What the checks that a loop asked said, kept for the end: the same checks of the same commit do not run twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.jobspec import JobSpec
from workers.checks import CheckResult

_ANSWERS = (CheckStatus.PASS, CheckStatus.FAIL)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The last answer: which commit it is about, and under which limit its setup ran."""

    sha: str
    setup_timeout_seconds: float
    results: tuple[CheckResult, ...]
    times: int = 1

    def again(self, later: "Asked") -> "Asked":
        """A later answer. How often one commit was asked is counted."""
        times = self.times + 1 if self.sha == later.sha else 1
        return Asked(
            sha=later.sha,
            setup_timeout_seconds=later.setup_timeout_seconds,
            results=later.results,
            times=times,
        )

    def final(self, spec: JobSpec, sha: str, restored: Sequence[str]) -> tuple[CheckResult, ...] | None:
        """The results of the final checks, where running them would repeat these step by step; else None.

        Hidden checks use what the visible ones left in the checkout, so with any of them all run. A commit that was
        asked more than once gets a run of its own: who repeats until it passes has proven nothing.
        """
        same = (self.sha, self.setup_timeout_seconds) == (sha, spec.limits.setup_timeout)
        checks = spec.target.checks
        if not same or restored or self.times > 1 or checks != spec.target.visible_checks:
            return None
        if len(self.results) != len(checks) or any(result.status not in _ANSWERS for result in self.results):
            return None
        return self.results
