"""What a log line looks like."""

import json
import logging
from typing import Any

import pytest

from orchestrator.logs import JsonLine, OneLine


def record(message: str, *values: object, error: Exception | None = None) -> logging.LogRecord:
    made = logging.LogRecord("bakeoff.scheduler", logging.WARNING, "x.py", 1, message, values, None)
    if error is not None:
        made.exc_info = (type(error), error, None)
    return made


def test_an_event_is_one_line_whatever_it_holds() -> None:
    line = OneLine("%(levelname)s %(message)s").format(
        record("pass_failed error=%s", "no server\nat 10.0.0.1\r\n", error=ValueError("a\nb"))
    )
    assert line == "WARNING pass_failed error=no server\\nat 10.0.0.1\\r\\nValueError: a\\nb"


@pytest.mark.parametrize(
    ("message", "values", "fields"),
    [
        ("attempt_ended job=%d attempt=%s name=%s", (17, "ab", "night t/p #1"), {"job": 17, "name": "night t/p #1"}),
        ("worker_%s reason=%s", ("takes_no_new_jobs", None), {"reason": None}),
        ("quota_at 100%% account=%s", ("max",), {"account": "max"}),
        ("%(gone)s", ({"gone": 1},), {}),
        ("level=%s at=%s", ("mine", "never"), {"level": "WARNING", "message": "level=mine at=never"}),
        ("plain", (), {}),
    ],
)
def test_fields_of_a_json_line_have_their_keys_and_types(
    message: str, values: tuple[object, ...], fields: dict[str, Any]
) -> None:
    made = record(message, *values)
    line = JsonLine().format(made)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == made.getMessage()
    assert {name: found[name] for name in fields} == fields
    assert (found["level"], found["logger"], found["at"][-6:]) == ("WARNING", "bakeoff.scheduler", "+00:00")


def test_a_traceback_is_a_field() -> None:
    found = json.loads(JsonLine().format(record("look_failed", error=ValueError("a\nb"))))
    assert found["traceback"] == "ValueError: a\nb"
