"""What a race may take, told before it begins."""

from dataclasses import dataclass
from math import ceil

from orchestrator.analysis.race import fewest_targets
from orchestrator.scheduling.planned import Plan


@dataclass(frozen=True, kw_only=True)
class RacePlan:
    """Between `fewest_runs` (all but one are stopped as soon as that can be) and `most_runs` of the jobs are made.

    `earliest` is the number of common targets before which nobody can be stopped, of `targets`.
    """

    arms: int
    targets: int
    earliest: int
    fewest_runs: int
    most_runs: int
    error_rate: float
    margin: float

    def words(self) -> str:
        """In a sentence or two."""
        if self.arms < 2:
            return "race: only one profile, so nobody can be stopped"
        told = f"race: {self.arms} profiles at an error rate of {100 * self.error_rate:g} %"
        told += f" and a margin of {100 * self.margin:g} points" if self.margin else ""
        if self.earliest > self.targets:
            return (
                f"{told}; nobody can be stopped on {self.targets} targets, {self.earliest} or more are needed; "
                f"up to {self.most_runs} runs"
            )
        return (
            f"{told}; nobody is stopped before {self.earliest} common targets; "
            f"{self.fewest_runs} to {self.most_runs} runs"
        )


def race_plan(planned: Plan) -> RacePlan | None:
    """None for an experiment that does not race. Speaks of the whole matrix, whatever of it was run before."""
    rules = planned.loaded.experiment.race
    if rules is None:
        return None
    jobs = len(planned.jobs)
    arms = {job.cell.profile_hash for job in planned.jobs}
    targets = {job.cell.spec.target.label for job in planned.jobs}
    earliest = fewest_targets(len(arms), rules) if len(arms) > 1 else rules.min_targets
    most = jobs if rules.most_runs is None else min(jobs, ceil(rules.most_runs * jobs))
    fewest = jobs
    if len(arms) > 1 and earliest <= len(targets):
        fewest = jobs // len(arms) + (len(arms) - 1) * earliest  # the winner runs on to its end
    return RacePlan(
        arms=len(arms),
        targets=len(targets),
        earliest=earliest,
        fewest_runs=min(fewest, most),
        most_runs=most,
        error_rate=rules.error_rate,
        margin=rules.margin,
    )
