"""Deadlines as people write them: `08:00`, `08:00 Europe/Berlin`, `2026-07-02 08:00`, `2026-07-02T08:00+02:00`."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_ACCEPTED = (
    "a time like 08:00 or 2026-07-02T08:00, alone (this machine's zone), with Z, +02:00 or Europe/Berlin behind"
)
_FORM = re.compile(
    r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d\d?:\d\d)(?::00)?\s*(Z|[+-]\d\d:\d\d|[A-Za-z_]+(?:/[A-Za-z_+-]+)*)?"
)


def parse_deadline(text: str, now: datetime) -> datetime:
    """The moment in UTC; of a time without a date the next one after `now` on that zone's clock.

    Raises ValueError for anything else, for zones that do not exist, and for moments that are over.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(_ACCEPTED)
    day, clock, zone = match.groups()
    try:
        return _moment(day, clock, zone, now)
    except (OverflowError, OSError):
        raise ValueError(f"no clock shows that; {_ACCEPTED}") from None


def _moment(day: str | None, clock: str, zone: str | None, now: datetime) -> datetime:
    wall = time.fromisoformat(clock.rjust(5, "0"))
    if day is not None:
        found = _at(datetime.combine(datetime.fromisoformat(day), wall), zone)
        if found <= now:
            raise ValueError(f"it is over: now it is {now:%Y-%m-%d %H:%M} UTC")
        return found
    today = _local(now, zone).date()
    moments = (_at(datetime.combine(today + timedelta(days=days), wall), zone) for days in (0, 1, 2))
    return next(moment for moment in moments if moment > now)


def _at(wall: datetime, zone: str | None) -> datetime:
    if zone is None:
        return wall.astimezone(UTC)  # a moment without a zone is this machine's
    if zone[0] in "+-" or zone == "Z":
        return datetime.fromisoformat(wall.isoformat() + zone).astimezone(UTC)
    return wall.replace(tzinfo=_zone(zone)).astimezone(UTC)


def _local(now: datetime, zone: str | None) -> datetime:
    if zone is None:
        return now.astimezone()
    if zone[0] in "+-" or zone == "Z":
        return now.astimezone(datetime.fromisoformat("2000-01-01T00:00" + zone).tzinfo)
    return now.astimezone(_zone(zone))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"this machine knows no time zone {name!r}; {_ACCEPTED}") from None
