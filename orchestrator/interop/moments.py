"""Times as other programs write them, read as aware times in UTC; what is no time, or none of ours, is unknown."""

from datetime import UTC, datetime

from orchestrator.interop.tally import Tally

# Before computers could run agents, or far ahead: a slip of the pen, which no database may choke on.
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


def read_moment(text: str, name: str, where: str, tally: Tally) -> datetime | None:
    """ISO 8601, for a field of this name. Without a zone it is taken as UTC, and that is noted."""
    text = text.strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or not _FIRST_YEAR < found.year < _LAST_YEAR:
        tally.note("no_time", where, f"{{rows}} rows have a time in '{name}' that cannot be read", "unknown")
        return None
    if found.tzinfo is None:
        tally.note("no_time_zone", where, f"{{rows}} rows have no time zone in '{name}'", "UTC")
        return found.replace(tzinfo=UTC)
    return found
