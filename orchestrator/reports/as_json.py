"""The report as one JSON document, described in docs/reference/report.md."""

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum

from orchestrator.analysis.judge import end_word, group_checks, is_solved, standing
from orchestrator.analysis.measure import Measure
from orchestrator.analysis.rows import CheckRow, JobRow, StageRow, by_job
from orchestrator.analysis.study import Study
from orchestrator.analysis.summary import VariantSummary
from orchestrator.domain.base import Model
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.table import Table
from orchestrator.reports.words import AGENT_TEXT_LIMIT, foreign_text, one_line

SCHEMA = "bakeoff-report/1"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

# Of summed-up cases and paths. Those of one job are bounded where they are recorded.
MAX_CASES = 5000

_WITHHELD = {"final_text", "error_text"}
# Names that agents gave: shown, and harmless to look at.
_NAMES = {"case", "path", "replaced"}


def document(study: Study, options: ReportOptions) -> dict[str, Json]:
    """The document as JSON values. Unknown is null. Texts of agents are null unless asked for."""
    evidence = study.evidence
    head: dict[str, Json] = {
        "schema": SCHEMA,
        "experiment": evidence.experiment,
        "generated_at": evidence.generated_at.isoformat(),
        "verdict": list(study.verdict),
        "memo": _plain(study.memo, options),
    }
    if options.memo_alone:
        return head
    checks = group_checks(evidence.checks)
    stages = by_job(evidence.stages)
    cases, changes = by_job(evidence.cases), by_job(evidence.changes)
    return {
        **head,
        "profiles": [_summary(study, entry) for entry in study.summaries],
        "recipes": _plain(evidence.profiles, options),
        "race": _plain(study.race, options),
        "second_part": study.second and {name: _plain(one, options) for name, one in study.second._asdict().items()},
        "certainty": _plain(study.certainty, options),
        "pairs": _plain(study.pairs, options),
        "advice": _plain(study.advice, options),
        "frontier": {
            "points": _plain(study.frontier.points, options),
            "odds": _plain(study.frontier_odds, options),
            "apart": [{"label": label, "reason": reason} for label, reason in study.frontier.apart],
        },
        "robustness": _plain(study.robustness, options),
        "stages": _plain(study.stages, options),
        "resources": _plain(study.resources, options),
        "local_shares": _plain(study.offloads, options),
        "checks": _plain(study.checks, options),
        "cases": {
            "changed": _plain(study.cases_changed[:MAX_CASES], options),
            "left_out": max(0, len(study.cases_changed) - MAX_CASES),
            "cut": evidence.cases_cut,
        },
        "tampering": _plain(study.tampering, options),
        "protected_changes": _plain(study.changes[:MAX_CASES], options),
        "legacy_scores": _plain(study.legacy, options),
        "estimates": _plain(study.foretold, options),
        "jobs": [
            {
                **_job(job, checks.get(job.job_id, []), stages.get(job.job_id, []), options),
                "case_changes": _plain(cases.get(job.job_id, []), options),
                "changes_to_judges": _plain(changes.get(job.job_id, []), options),
            }
            for job in evidence.jobs
        ],
        "machine_notes": _plain(evidence.notes, options),
        "tasks_unnamed": evidence.tasks_unnamed,
        "appendix": [_table(table) for table in options.appendix],
    }


def render(study: Study, options: ReportOptions) -> str:
    """The document as text, keys in a fixed order, ending with a newline."""
    return json.dumps(document(study, options), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _table(table: Table) -> Json:
    rows: list[Json] = [list(row) for row in table.rows]
    columns: list[Json] = list(table.columns)
    return {"key": table.key, "title": table.title, "columns": columns, "rows": rows, "note": table.note}


def _summary(study: Study, entry: VariantSummary) -> Json:
    place = next((place for place in study.ranking.places if place.summary.label == entry.label), None)
    made = _plain(entry, ReportOptions())
    assert isinstance(made, dict)
    return {
        **made,
        "rank": place.rank if place else None,
        "leaders_lead_interval": list(place.lead_over) if place else None,
        "solved_rate": entry.rate,
        "solved_interval": list(entry.interval),
        "solved_share_if_all_counted": list(entry.sensitivity),
        "cost_per_solved_usd_micros": entry.cost_per_solved_usd_micros,
        "solved_per_remote_call": entry.solved_per_remote_call,
    }


def _job(job: JobRow, checks: list[CheckRow], stages: list[StageRow], options: ReportOptions) -> dict[str, Json]:
    made = _plain(job, options)
    assert isinstance(made, dict)
    return {
        **made,
        "counts_as": standing(job).value,
        "end": end_word(job, checks),
        "solved": is_solved(job, checks),
        "checks": _plain(checks, options),
        "stages": _plain(stages, options),
    }


def _plain(value: object, options: ReportOptions) -> Json:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Model):
        return _plain(value.model_dump(mode="json"), options)
    if isinstance(value, dict):
        return {str(_plain(key, options)): _plain(item, options) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, options) for item in value]
    return _fields(value, options)


def _fields(value: object, options: ReportOptions) -> Json:
    if not is_dataclass(value):
        raise TypeError(f"no JSON form for {type(value).__name__}")
    made: dict[str, Json] = {}
    for entry in fields(value):
        found = getattr(value, entry.name)
        if entry.name in _WITHHELD:
            made[entry.name] = foreign_text(found, AGENT_TEXT_LIMIT) if options.agent_text and found else None
        elif entry.name in _NAMES:
            made[entry.name] = one_line(found) if isinstance(found, str) else [one_line(one) for one in found]
        else:
            made[entry.name] = _plain(found, options)
    if isinstance(value, Measure):
        made["complete"] = value.complete
    return made
