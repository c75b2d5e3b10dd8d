"""One look at the campaigns: where the first part has ended, choose the targets of the second."""

from datetime import datetime

from orchestrator.analysis.campaign import rank_targets, ranked_words
from orchestrator.analysis.judge import group_checks
from orchestrator.storage.campaigns import Due, due_campaigns, settle_campaign
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence


def settle_campaigns(database: Database, now: datetime) -> list[str]:
    """Returns a line for the log for each campaign whose second part was let go."""
    return [line for due in due_campaigns(database) if (line := _settle(database, due, now))]


def _settle(database: Database, due: Due, now: datetime) -> str:
    evidence = load_evidence(database, due.name, now, with_cases=False)
    ranked = rank_targets(evidence.jobs, group_checks(evidence.checks), due.rules)
    told = {one.target: ranked_words(place, len(ranked), one, due.rules) for place, one in enumerate(ranked, start=1)}
    told |= {job.target: "nothing of the first part ran on it" for job in evidence.jobs if job.target not in told}
    chosen = [one.target for one in ranked if one.chosen]
    passed = {
        target: f"not among the first {due.rules.top} targets: {words}"
        for target, words in sorted(told.items())
        if target not in chosen
    }
    ready, ended = settle_campaign(database, due, chosen, passed, now)
    return f"experiment={due.name} targets={','.join(chosen)} ready={ready} ended={ended}" if ready or ended else ""
