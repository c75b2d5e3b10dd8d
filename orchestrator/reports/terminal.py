"""The report for a terminal: the verdict, then the tables."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.analysis.study import Study
from orchestrator.reports.memo import ladder
from orchestrator.reports.memo import parts as memo_parts
from orchestrator.reports.options import PLAIN, ReportOptions
from orchestrator.reports.table import Table
from orchestrator.reports.tables import all_tables, short_comparison
from orchestrator.reports.tables_checks import checks
from orchestrator.reports.words import one_line

# Cells that one reads as blocks, a line each; of a larger table that does not fit, only a word is said.
_MAX_BLOCK_CELLS = 100
# What one reads in the morning, besides the memo; every other table is named, and printed with `--all`.
_FIRST = frozenset({"comparison", "race", "pairs", "contradictions", "ends", "checks", "tampering"})


def render(study: Study, width: int = 100, options: ReportOptions = PLAIN) -> RenderableType:
    """What to read first, and the names of the other tables; all of them with `everything`.

    A table that would not fit `width` columns is shown as one block per row.
    """
    if options.memo_alone:
        return Group(*_head(study), *_memo(study, width))
    tables = all_tables(study, options)
    if options.everything:
        return _report(study, tables, width)
    shown = _FIRST | {table.key for table in options.appendix}
    first = [_readable(study, one, width) for one in tables if one.key in shown]
    rest = [one.title for one in tables if one.key not in shown]
    more = [Text(), Text(f"Further, with `--all`, `--markdown` or `--html`: {' · '.join(rest)}")] if rest else []
    return Group(_report(study, first, width), *more)


def _readable(study: Study, table: Table, width: int) -> Table:
    """A table that fits, or is short; a line about it where it is neither."""
    found = table.folded
    if _least_width(found) <= width:
        return found
    if table.key == "comparison":
        return short_comparison(study).folded
    if len(found.rows) * len(found.columns) <= _MAX_BLOCK_CELLS:
        return found
    size = f"{len(table.rows):,} rows of {len(table.columns)} columns"
    note = f"{size}: too many for this width; `--all` prints them, `--html` and `--markdown` have them as a table."
    return replace(found, columns=("",), rows=((note,),), note="")


def render_short(study: Study, width: int = 100) -> RenderableType:
    """What fits on a screen when a run has ended: the verdict, who solved what, and which checks told."""
    compared = short_comparison(study)
    compared = replace(compared, note=f"{compared.note} `bakeoff report` and the HTML page have the rest.")
    return _report(study, (compared, checks(study)), width, memo=False)


def _head(study: Study) -> list[RenderableType]:
    title = Text(one_line(study.evidence.experiment), style="bold")
    return [title, Text(), *(Padding(Text(sentence), (0, 0, 0, 0)) for sentence in study.verdict)]


def _memo(study: Study, width: int) -> Iterator[RenderableType]:
    table = ladder(study)
    yield from (Text(), Text(table.title, style="bold"))
    if table.rows:
        yield from (_table(table, width), Text(table.note, style="dim"))
    for part in memo_parts(study):
        yield Text(part.title, style="dim")
        yield from (Padding(Text(one_line(f"• {sentence}", 1000)), (0, 0, 0, 2)) for sentence in part.sentences)


def _report(study: Study, tables: Sequence[Table], width: int, *, memo: bool = True) -> RenderableType:
    parts = [*_head(study), *(_memo(study, width) if memo else ())]
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
        made.add_column(
            Text(one_line(name, 60)), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )
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
