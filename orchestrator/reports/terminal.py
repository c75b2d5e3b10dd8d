"""The report for a terminal: the verdict, then the tables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.analysis.study import Study
from orchestrator.reports.table import Table
from orchestrator.reports.tables import all_tables, short_comparison
from orchestrator.reports.tables_checks import checks
from orchestrator.reports.words import one_line


def render(study: Study, width: int = 100) -> RenderableType:
    """The whole report. A table that would not fit `width` columns is shown as one block per row."""
    return _report(study, all_tables(study), width)


def render_short(study: Study, width: int = 100) -> RenderableType:
    """What fits on a screen when a run has ended: the verdict, who solved what, and which checks told."""
    return _report(study, (short_comparison(study), checks(study)), width)


def _report(study: Study, tables: Sequence[Table], width: int) -> RenderableType:
    parts: list[RenderableType] = [Text(one_line(study.evidence.experiment), style="bold"), Text()]
    parts.extend(Padding(Text(sentence), (0, 0, 0, 0)) for sentence in study.verdict)
    for table in tables:
        if not table.rows:
            continue
        parts.extend([Text(), Text(table.title, style="bold"), _table(table, width)])
        if table.note:
            parts.append(Text(table.note, style="dim"))
    for note in study.evidence.notes:
        parts.append(Text(f"machine {one_line(note.machine, 60)}: {one_line(note.text)}", style="yellow"))
    return Group(*parts)


def _table(table: Table, width: int) -> RenderableType:
    if _least_width(table) > width:
        return _blocks(table)
    made = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(table.columns):
        numeric = index in table.numeric
        made.add_column(Text(one_line(name, 60)), justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.rows:
        made.add_row(*(Text(one_line(cell)) for cell in row))
    return made


def _least_width(table: Table) -> int:
    """Columns that are needed when only text columns are folded."""
    needed = 0
    for index, name in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        longest = max((len(cell) for cell in cells), default=0)
        needed += 2 + (max(len(name), longest) if index in table.numeric else min(longest, 16))
    return needed


def _blocks(table: Table) -> RenderableType:
    lines: list[RenderableType] = []
    key = max(len(name) for name in table.columns)
    for row in table.rows:
        lines.append(Text(one_line(row[0]), style="bold"))
        for name, cell in zip(table.columns[1:], row[1:], strict=True):
            if cell and cell not in ("·", "–"):
                lines.append(Text.assemble("  ", (f"{one_line(name, 60):<{min(key, 30)}}  ", "dim"), one_line(cell)))
    return Group(*lines)
