"""The report as Markdown, for a pull request or a wiki. Every cell is escaped."""

import re

from orchestrator.analysis.judge import SOLVED, end_word, group_checks
from orchestrator.analysis.study import Study
from orchestrator.reports.memo import ladder
from orchestrator.reports.memo import parts as memo_parts
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.table import Table
from orchestrator.reports.tables import all_tables
from orchestrator.reports.words import AGENT_TEXT_LIMIT, foreign_text, one_line, spaced

MAX_TEXTS = 50

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#!&@])")


def render(study: Study, options: ReportOptions) -> str:
    """The whole report, ending with a newline."""
    evidence = study.evidence
    parts = [f"# {escape(evidence.experiment)}", f"As of {evidence.generated_at:%Y-%m-%d %H:%M %Z}."]
    parts.append("## Verdict\n\n" + "\n".join(f"- {escape(sentence, 1000)}" for sentence in study.verdict))
    parts.append(_memo(study))
    if options.memo_alone:
        return "\n\n".join(parts) + "\n"
    tables = all_tables(study, options)
    parts.extend(_table(table if options.everything else table.folded) for table in tables)
    if evidence.notes:
        notes = [f"- {escape(note.machine)}: {escape(note.text)}" for note in evidence.notes]
        parts.append("## Machines\n\n" + "\n".join(notes))
    if options.agent_text:
        parts.append(_agent_texts(study))
    return "\n\n".join(part for part in parts if part) + "\n"


def _memo(study: Study) -> str:
    table = ladder(study)
    head = _table(table) if table.rows else f"## {escape(table.title)}"
    lists = [
        f"### {escape(part.title)}\n\n" + "\n".join(f"- {escape(sentence, 1000)}" for sentence in part.sentences)
        for part in memo_parts(study)
    ]
    return "\n\n".join([head, *lists])


def escape(text: str, limit: int = 300) -> str:
    """Text on one line in which nothing is markup, links or mentions."""
    return _SPECIAL.sub(r"\\\1", one_line(text, limit)).replace("://", ":\\//")


def fenced(text: str, limit: int = AGENT_TEXT_LIMIT) -> str:
    """Foreign text in a code block whose fence is longer than any run of backticks inside."""
    body = foreign_text(text, limit)
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def _table(table: Table) -> str:
    rule = ["---:" if index in table.numeric else "---" for index in range(len(table.columns))]
    lines = [
        f"| {' | '.join(escape(name) for name in table.columns)} |",
        f"|{'|'.join(rule)}|",
        *(f"| {' | '.join(escape(cell) for cell in row)} |" for row in table.rows),
    ]
    note = f"\n\n{escape(table.note, 1000)}" if table.note else ""
    return f"## {escape(table.title)}\n\n" + "\n".join(lines) + note


def _agent_texts(study: Study) -> str:
    checks = group_checks(study.evidence.checks)
    found = []
    for job in study.evidence.jobs:
        word = end_word(job, checks.get(job.job_id, ()))
        if job.final_text and word != SOLVED:
            found.append(f"### {escape(job.label)}: {escape(spaced(word))}\n\n{fenced(job.final_text)}")
    if not found:
        return ""
    more = f"\n\n{len(found) - MAX_TEXTS} more are in the JSON report." if len(found) > MAX_TEXTS else ""
    head = "## Last messages of jobs that were not solved\n\nWritten by the agents: claims, not findings."
    return "\n\n".join([head, *found[:MAX_TEXTS]]) + more
