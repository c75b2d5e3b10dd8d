"""Events in one line each: what we wrote is shown, and what an agent wrote only when it was asked for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.reports.words import one_line, tokens

_MOST_CHARS = 400
# Texts that are ours, or names that the provider's protocol fixes. Every other text of an event is foreign.
_OURS = {
    "GuardNotice": {"action", "detail"},
    "ErrorSeen": {"kind"},
    "QuotaSeen": {"window", "source"},
    "AgentEnded": {"reason"},
    "RequestEnded": {"model_asked", "model_served"},
    "Resumed": {"from"},
    "StartedClean": {"instead_of", "reason"},
    "ContextWindowReduced": {"model"},
    "TaskFileNotWritten": {"reason"},
}
# Long, and told better by the other fields.
_LEFT_OUT = {"limit_headers", "request_id", "tools", "opening", "path"}


class Told(NamedTuple):
    """An event's own facts, and what an agent wrote into it; `withheld` characters of that are not shown."""

    facts: str
    foreign: str
    withheld: int


def tell(kind: str, data: Mapping[str, Any], *, show: bool) -> Told:
    """The line of an event. Numbers and truths are facts; None and what is empty is left out."""
    ours = _OURS.get(kind, set())
    facts: list[str] = []
    foreign: list[str] = []
    for name, value in data.items():
        if value is None or value in ("", {}, []) or name in _LEFT_OUT:
            continue
        if name == "usage" and isinstance(value, Mapping):
            facts.append(f"{tokens(_total(value))} tokens")
        elif isinstance(value, bool | int | float):
            facts.append(_figure(name, value))
        elif name in ours:
            facts.append(f"{_label(name)} {value}")
        else:
            foreign.append(f"{_label(name)} {value}")
    text = one_line(", ".join(foreign), _MOST_CHARS)
    return Told(
        facts=one_line(", ".join(facts), _MOST_CHARS),
        foreign=text if show else "",
        withheld=0 if show else len(text),
    )


def _label(name: str) -> str:
    return name.replace("_", " ")


def _figure(name: str, value: float) -> str:
    if isinstance(value, bool):
        return f"{_label(name)} {'yes' if value else 'no'}"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    for unit, sign in (("_seconds", "s"), ("_bytes", "bytes")):
        if name.endswith(unit):
            return f"{_label(name.removesuffix(unit))} {text} {sign}"
    return f"{_label(name)} {text}"


def _total(usage: Mapping[str, Any]) -> int | None:
    known = [value for value in usage.values() if isinstance(value, int)]
    return sum(known) if known else None
