"""Files that were made to hurt an import: refused with their line or read as unknown, and none fills the memory."""

import gzip
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidInput, NotFound
from orchestrator.interop import interstat, review, shadow, token_log
from orchestrator.interop.input_file import read_file, text_lines
from orchestrator.interop.interstat_file import open_database
from orchestrator.interop.leaderboard_import import read as read_board
from orchestrator.interop.leaderboard_results import to_results as board_results
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials import Counts, to_results
from orchestrator.interop.trials_file import check_whole, read_lines
from orchestrator.storage.imports import ImportedRun
from tests.support.interstat import make_interstat

HEADER = b"submission,task,trial,resolved,started,ended,in_tok,out_tok,cost_usd\n"


def trials(path: Path, *rows: str) -> tuple[list[ImportedRun], set[str]]:
    path.write_bytes(HEADER + "".join(row + "\n" for row in rows).encode())
    tally = Tally()
    runs = list(to_results("x", path.name, read_lines(path, tally), tally, Counts()))
    return runs, {finding.kind for finding in tally.findings()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + b"a,b,1,1,,,,,\n" * 3 + b"a,\xff,2,1,,,,,\n", r"t.csv:5: is not UTF-8 text"),
        ("submission,task,resolved\n".encode("utf-16"), r"t.csv:1: is UTF-16 and not UTF-8 text: save it as UTF-8"),
        (HEADER + b"a,b," + b"x" * 1_100_000, r"t.csv:2: has a line of more than 1048576 bytes"),
        (HEADER + b'"y\n",' * 600_000, r"t.csv:\d+: is no CSV: a row of more than 1048576 characters"),
        (HEADER + b'a,b,"1\n', r"t.csv:2: is no CSV: unexpected end of data"),
        (HEADER + b"a,b\rc,d,1,1,,,,,\n", r"t.csv:2: is no CSV: new-line character"),
        (gzip.compress(HEADER + b"a,b,1,1,,,,,\n" * 9_000)[:-9], "its compressed data is damaged"),
        (b"\x1f\x8b\x08nonsense", "its compressed data is damaged"),
    ],
    ids=["latin", "utf16", "line", "row", "quote", "return", "cut", "nonsense"],
)
def test_a_table_that_is_wrong_somewhere_is_refused_with_the_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        check_whole(tmp_path / "t.csv")


@pytest.mark.parametrize("row", [b"\0" * 65_536, (b"0" * 8191 + b"\n") * 8], ids=["one line", "many lines"])
def test_a_bomb_is_refused_before_it_has_gone_off(tmp_path: Path, row: bytes) -> None:
    with gzip.open(tmp_path / "t.csv", "wb") as file:
        file.write(HEADER)
        for _ in range(1100):
            file.write(row)
    with pytest.raises(InvalidInput, match=r"has a line of more than|unpacks to more than 200 times its size"):
        check_whole(tmp_path / "t.csv")


def test_marks_at_the_front_and_nothings_in_the_middle_are_no_reason_to_give_up(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + HEADER + b"a\0b,t,1,1,,,,,\n")
    (line,) = read_lines(tmp_path / "t.csv", Tally())
    assert line.row["submission"] == "a\ufffdb"
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfx")
    assert (read_file(tmp_path / "b.txt"), list(text_lines(tmp_path / "b.txt"))) == ("x", ["x"])


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ("0001-01-01T00:00:00+14:00,9999-12-31T23:59:59-12:00,5,5,1", "no_time"),
        ("2025-01-01T00:00:00,2025-01-01T00:01:00,5,5,1", "no_time_zone"),
        (",,1" + "0" * 30 + ",5,1", "no_number"),
        (",,-5,5,1", "no_number"),
        (",,٣,5,1", "no_number"),
        (",,5,5,-0.5", "no_number"),
        (",,5,5,nan", "no_number"),
        (",,5,5,inf", "no_number"),
        (",,5,5,1e400", "no_number"),
        (",,5,5,1_000", "no_number"),
        (",,5,5,1e300", "no_number"),
    ],
)
def test_a_value_that_cannot_be_is_unknown_and_said_to_be(tmp_path: Path, fields: str, kind: str) -> None:
    (run,), kinds = trials(tmp_path / "t.csv", f"a_b,t,1,1,{fields}")
    assert kind in kinds
    stage = run.stages[0].values
    if kind == "no_number":
        assert None in (stage["input_tokens"], stage["cost_usd_micros"])
    if kind == "no_time":
        assert (run.values["wall_seconds"], run.started_at) == (None, datetime(1970, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "fields",
    [
        {"seconds_per_case": 1e300},
        {"seconds_per_case": float("inf")},
        {"total_cost": -1},
        {"total_cost": 1e300},
        {"prompt_tokens": 10**30},
        {"completion_tokens": -1},
        {"date": "0001-01-01"},
        {"date": "9999-12-31", "seconds_per_case": 86_400},
        {"wall_min": float("nan")},
        {"model": "=cmd()|' /C calc'!A0"},
        {"dirname": ["a"], "model": {"a": 1}},
    ],
    ids=str,
)
def test_a_leaderboard_with_numbers_of_another_world_is_still_read(tmp_path: Path, fields: dict[str, object]) -> None:
    entry = {"dirname": "d", "model": "m", "test_cases": 5, "pass_rate_2": 40.0} | fields
    (tmp_path / "b.yml").write_text(json.dumps([entry]))
    board = read_board(tmp_path / "b.yml", "b")
    runs = list(board_results("b", board.benchmark, board.runs))
    assert sum(run.outcome == "complete" for run in runs) == 2
    for run in runs:
        cost = run.stages[0].values["cost_usd_micros"]
        assert cost is None or cost > 0


def test_aliases_of_aliases_do_not_multiply(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    (tmp_path / "b.yml").write_text(f"a0: &a0 [x]\n{levels}\nrows: *a29\n")
    with pytest.raises(InvalidInput, match="no entry says how many tasks it tried"):
        read_board(tmp_path / "b.yml", "b")


def _interstat(path: Path) -> list[ImportedRun]:
    with open_database(path) as database:
        return list(interstat.read_log(path, "x", database).runs)


def _wreck(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def _statement(*statements: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return run


@pytest.mark.parametrize(
    ("hurt", "message"),
    [
        (_wreck, "is damaged|is no whole SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:6000]), "is damaged|is no whole SQLite database"),
        (_statement("DROP TABLE agent_runs"), "has no table agent_runs"),
        (
            _statement(
                "DROP TABLE agent_runs",
                "CREATE VIEW agent_runs AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
                " SELECT id, '' AS timestamp, '' AS session_id, '' AS agent_name FROM n",
            ),
            "has no table agent_runs",
        ),
        (_statement("ALTER TABLE agent_runs RENAME COLUMN session_id TO s"), "has no column session_id"),
        (_statement("UPDATE agent_runs SET model = zeroblob(5000000) WHERE id = 2"), "string or blob too big"),
    ],
    ids=["wrecked", "cut", "no table", "endless view", "no column", "blob"],
)
def test_a_database_that_is_none_or_was_made_up_is_refused_before_a_row_is_read(
    tmp_path: Path, hurt: Callable[[Path], object], message: str
) -> None:
    path = make_interstat(tmp_path / "m.db", [{"input_tokens": 1, "output_tokens": 2}] * 200)
    hurt(path)
    with pytest.raises(InvalidInput, match=message):
        _interstat(path)


@settings(max_examples=40)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=9), st.text(max_size=9)
            )
            for name in (
                *("input_tokens", "output_tokens", "cache_read_tokens", "total_tokens", "api_equivalent_cost_usd"),
                *("wall_clock_ms", "model", "timestamp", "agent_name", "session_id", "phase", "bead_id", "parsed_at"),
            )
        },
    )
)
def test_whatever_stands_in_a_row_of_interstat_is_read_or_unknown(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, object]
) -> None:
    try:
        path = make_interstat(tmp_path_factory.mktemp("db") / "m.db", [row], version=7)
    except (sqlite3.IntegrityError, UnicodeEncodeError):
        return  # SQLite itself refuses it
    for run in _interstat(path):
        for name, value in run.stages[0].values.items():
            assert value is None or not name.endswith(("_tokens", "_micros")) or 0 <= value < 2**63, name
        json.dumps(run.record, allow_nan=False)


READERS: dict[str, Callable[[Path], object]] = {
    "interstat": _interstat,
    "shadow": lambda path: shadow.read_log([path], "x"),
    "findings": lambda path: review.read_log([path], "x"),
    "tokens": lambda path: token_log.read_log(path, "x"),
    "trials": check_whole,
    "leaderboard": lambda path: read_board(path, "x"),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_no_such_file_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "utf16").write_text('{"entries": []}\n', encoding="utf-16")
    (tmp_path / "nan.json").write_text('{"entries": [{"sd_id": "a",\n "tokens": NaN}]}')
    for name in ("loop", "dangling", "none"):
        with pytest.raises(NotFound):
            READERS[kind](tmp_path / name)
    for name, message in (("pipe", "is no regular file"), (".", "is no regular file"), ("nan.json", "nan.json")):
        with pytest.raises(InvalidInput, match=message):
            READERS[kind](tmp_path / name)
    with pytest.raises(InvalidInput, match="no SQLite" if kind == "interstat" else "is UTF-16 and not UTF-8 text"):
        READERS[kind](tmp_path / "utf16")


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"entries": [], "findings": [],\n "x": Infinity}', "Infinity is no number"),
        ('{"entries": [],\n "findings": [}', r":2: is no JSON"),
        ("[" * 100_000, "is nested too deeply|is no JSON"),
        ('{"entries": [], "findings": [], "x": ' + "9" * 5000 + "}", "is no JSON that can be read"),
        ("[]", "is no JSON object"),
        ('{"entries": {}, "findings": 3}', "it has no list"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = _write(tmp_path / "f.json", content)
    readers: Iterable[Callable[[], object]] = (
        lambda: token_log.read_log(path, "x"),
        lambda: review.read_log([path], "x"),
    )
    for read in readers:
        with pytest.raises(InvalidInput, match=message):
            read()


def test_a_key_that_is_given_twice_is_noted(tmp_path: Path) -> None:
    entry = '{"sd_id": "a", "tokens": 1, "tokens": 5}'
    log = token_log.read_log(_write(tmp_path / "f.json", f'{{"entries": [{entry}]}}'), "x")
    assert log.reading.sums["tokens"] == 5
    assert "key_twice" in {finding.kind for finding in log.reading.tally.findings()}


@pytest.mark.parametrize(
    "part",
    ["[", "[B2-shadow] complexity=C1 would change dispatch: a(", "[B5-shadow] would route locally: a", "x-shadow "],
)
def test_a_long_line_of_a_shadow_log_is_read_in_one_go(tmp_path: Path, part: str) -> None:
    """A pattern that starts anew at every place and looks to the end of the line would take hours."""
    (tmp_path / "s.log").write_text(part * (1_000_000 // len(part)))
    assert shadow.read_log([tmp_path / "s.log"], "x").reading.left_out == 1


def test_names_that_no_database_takes_are_made_ones_that_it_does(tmp_path: Path) -> None:
    finding = {"severity": "P1", "agents": ["a\ud800", "b\0"], "title": "\ud800"}
    path = _write(tmp_path / "f.json", json.dumps({"input": "x\udfff", "findings": [finding]}))
    runs = list(review.read_log([path], "x").runs)
    assert [run.stages[0].values["agent"] for run in runs] == ["a?", "b\ufffd"]
    (tmp_path / "s.log").write_text("[interspect-shadow] a\0b: base=c\0, calibrated=d\n")
    (run,) = shadow.read_log([tmp_path / "s.log"], "x").runs
    assert (run.stages[0].values["agent"], run.stages[0].values["model_asked"]) == ("a\ufffdb", "c\ufffd")


@given(st.text(), st.sampled_from(["[B2-shadow] ", "[B5-shadow] would route locally: ", ""]))
def test_no_line_of_a_shadow_log_is_lost(tmp_path_factory: pytest.TempPathFactory, line: str, mark: str) -> None:
    said = (mark + line).encode("utf-8", "replace").replace(b"\n", b" ")
    path = tmp_path_factory.mktemp("log") / "s.log"
    path.write_bytes(said + b"\n[B2-shadow] complexity=C1 would change model: a -> b (phase= category=)\n")
    log = shadow.read_log([path], "x")
    assert log.reading.rows == 2
    assert len(list(log.runs)) + log.reading.left_out >= 2
