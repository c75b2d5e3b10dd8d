"""How every process of ours writes its log: one line per event, as text or as JSON."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
# The places of a message such as `lease_expired attempt=%s heartbeat=%d`, each with its key if it has one.
_PLACE = re.compile(r"(?:(\w+)=)?%[-#0 +]*\d*(?:\.\d+)?([a-zA-Z%])")
_PLAIN = (str, int, float, bool, type(None))


class OneLine(logging.Formatter):
    """Text in which line breaks of messages and tracebacks are written as `\\n`, so that each event is one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event."""
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")


class JsonLine(logging.Formatter):
    """One JSON object per event: time, level, logger, message, and the message's own fields by their keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of an event."""
        line: dict[str, object] = dict(_fields(record))
        line |= {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    places = [key for key, kind in _PLACE.findall(str(record.msg)) if kind != "%"]
    values = record.args if isinstance(record.args, tuple) else ()
    if len(places) != len(values):
        return []
    named = [(key, value) for key, value in zip(places, values, strict=True) if key]
    return [(key, value if isinstance(value, _PLAIN) else str(value)) for key, value in named]


def log_to(place: Path | None, *, as_json: bool) -> None:
    """Begin to log, to standard error or to a file. Raises OSError for a file that cannot be written."""
    handler = logging.StreamHandler(sys.stderr) if place is None else logging.FileHandler(place)
    handler.setFormatter(JsonLine() if as_json else OneLine(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
