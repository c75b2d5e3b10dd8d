"""The report as one HTML file that needs no network, no script and no other file."""

from collections.abc import Mapping, Sequence, Set
from functools import cache
from typing import NamedTuple

from jinja2 import Environment

from orchestrator.analysis.judge import group_checks
from orchestrator.analysis.rows import StageRow, by_job
from orchestrator.analysis.stage_table import StageTable
from orchestrator.analysis.study import Study
from orchestrator.reports import memo, tables, words
from orchestrator.reports.html_parts import (
    cell_views,
    comparison_bars,
    end_legend,
    letters,
    profile_facts,
)
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.pictures import pictures
from orchestrator.reports.scatter import scatter
from orchestrator.reports.stacks import end_stacks, stage_groups, stage_tones
from orchestrator.reports.templating import page_environment

# A browser opens about this many expandable jobs without a pause; the rest is in the JSON report.
MAX_JOBS_SHOWN = 1000
# Stages of one job, and rows of stages in the whole file: a long run or a large matrix keeps it readable.
MAX_STAGES_SHOWN, MAX_STAGE_ROWS = 100, 4000
# A matrix of more cells has one number in each and no signs, so that it is seen as a whole and opens at once.
MAX_WIDE_CELLS = 1000


@cache
def _environment() -> Environment:
    made = page_environment("orchestrator.reports")
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
            memo_ladder=memo.ladder(study),
            memo_parts=memo.parts(study),
            bars=comparison_bars(study),
            facts=profile_facts(study),
            wide=scatter(points, 760, 400, [point.label for point in points]),
            narrow=scatter(points, 340, 320, [letters(study.labels.index(point.label)) for point in points]),
            cells={(view.cell.target, view.cell.label): view for view in views},
            views=views,
            dense=len(views) > MAX_WIDE_CELLS,
            hidden_jobs=sum(view.hidden for view in views),
            legend=end_legend(study),
            stage_groups=stage_groups(study),
            end_stacks=end_stacks(study),
            pictures=pictures(study),
            stage_tones=stage_tones(study),
            job_checks=group_checks(evidence.checks),
            job_stages=_shown_stages(evidence.stages, {found.job.job_id for view in views for found in view.jobs}),
            no_stages=ShownStages(),
            job_cases=by_job(evidence.cases),
            job_changes=by_job(evidence.changes),
            tables={table.key: table for table in tables.all_tables(study, options)},
        )
    )


class ShownStages(NamedTuple):
    """The first and last stages of a job, and how many between them are left out."""

    rows: Sequence[StageRow] = ()
    left_out: int = 0


def _shown_stages(stages: Sequence[StageRow], wanted: Set[int]) -> Mapping[int, ShownStages]:
    """By job, of those that are `wanted`. The more jobs there are, the fewer stages of each have their place."""
    table = StageTable.of(stages)
    ids, bounds = table.bounds()
    half = min(MAX_STAGES_SHOWN, max(4, MAX_STAGE_ROWS // max(1, len(wanted)))) // 2
    return {
        job_id: ShownStages(table[first:last])
        if last - first <= 2 * half
        else ShownStages([*table[first : first + half], *table[last - half : last]], last - first - 2 * half)
        for job_id, first, last in zip(ids.tolist(), bounds.tolist(), bounds[1:].tolist(), strict=False)
        if job_id in wanted
    }
