"""The report as one HTML file that needs no network, no script and no other file."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.analysis.judge import group_checks
from orchestrator.analysis.rows import by_job
from orchestrator.analysis.study import Study
from orchestrator.reports import tables, words
from orchestrator.reports.html_parts import (
    cell_views,
    comparison_bars,
    end_legend,
    profile_facts,
    stage_bars,
    stage_tones,
)
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.scatter import scatter
from orchestrator.reports.symbols import symbol

# A browser opens about this many expandable jobs without a pause; the rest is in the JSON report.
MAX_JOBS_SHOWN = 1500


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("orchestrator.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "money": words.money,
        "tokens": words.tokens,
        "duration": words.duration,
        "share": words.share,
        "spaced": words.spaced,
        "line": words.one_line,
        "foreign": lambda text: words.foreign_text(text, words.AGENT_TEXT_LIMIT),
        "symbol": symbol,
    }
    made.globals |= {
        "format_money": words.money,
        "format_tokens": words.tokens,
        "format_duration": words.duration,
    }
    return made


def render(study: Study, options: ReportOptions) -> str:
    """The whole document. Everything from rows passes through escaping; nothing in it can load or run."""
    points = study.frontier.points
    evidence = study.evidence
    views = cell_views(study, MAX_JOBS_SHOWN)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            evidence=evidence,
            options=options,
            bars=comparison_bars(study),
            facts=profile_facts(study),
            wide=scatter(points, 760, 400, [point.label for point in points]),
            narrow=scatter(points, 340, 320, [str(study.labels.index(point.label) + 1) for point in points]),
            cells={(view.cell.target, view.cell.label): view for view in views},
            views=views,
            hidden_jobs=sum(view.hidden for view in views),
            legend=end_legend(study),
            stage_bars=stage_bars(study),
            stage_tones=stage_tones(study),
            job_checks=group_checks(evidence.checks),
            job_stages=by_job(evidence.stages),
            job_cases=by_job(evidence.cases),
            job_changes=by_job(evidence.changes),
            tables={table.key: table for table in tables.all_tables(study)},
        )
    )
