"""Lines of a spool file: whatever is recorded comes back, also text that UTF-8 cannot carry."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.outcome import Outcome
from workers.spool_lines import Batch, as_line

# Half of a pair among them: agents' output is cut anywhere.
TEXT = st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
AT = datetime(2026, 3, 1, 7, 30, 0, 123456, tzinfo=UTC)


def event(data: object) -> dict[str, object]:
    return {"type": "event", "seq": 1, "stage": None, "kind": "X", "data": data, "attempt": "a", "at": AT.isoformat()}


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_is_read(data: dict[str, object]) -> None:
    line = as_line(event(data))
    assert line.count(b"\n") == 1, "a line is a line, whatever the text in it"
    assert json.loads(line) == event(data)
    batch = Batch()
    batch.take(line)
    (read,) = batch.records().events
    assert (read.data, read.at, read.attempt_id, read.seq) == (data, AT, "a", 1)


def test_moments_words_and_what_json_does_not_know() -> None:
    for text in ("fine", "half a pair: \ud83d"):
        values = {"started_at": AT, "outcome": Outcome.COMPLETE, "detail": text, "other": {1}}
        batch = Batch()
        batch.take(as_line({"type": "stage", "ordinal": 1, "values": values, "attempt": "a", "at": AT.isoformat()}))
        (stage,) = batch.records().stages
        assert {name: stage.values[name] for name in ("started_at", "outcome", "detail")} == {
            "started_at": AT,
            "outcome": "complete",
            "detail": text,
        }
