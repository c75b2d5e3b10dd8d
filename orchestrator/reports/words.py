"""Numbers and foreign text as people read them. Unknown is always the word `unknown`, never 0."""

import re
from collections.abc import Callable, Iterable, Mapping

from orchestrator.analysis.measure import Measure
from orchestrator.domain.durations import format_duration

UNKNOWN = "unknown"
AGENT_TEXT_LIMIT = 2000
NOTE_LIMIT = 300

# Terminal escape sequences, other control characters, and the marks that turn the direction of text or are invisible:
# all of them can make text look like something that it is not. Halves of characters, as names of files hold them, no
# output takes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_INVISIBLE = re.compile(
    "[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def foreign_text(text: str, limit: int) -> str:
    """Text that we did not write, made harmless to look at: no escapes, no hidden characters (each shown as its code
    point), at most `limit` characters with the rest counted. Escaping for HTML or Markdown is still the caller's."""
    head = _ESCAPES.sub("", text[: 4 * limit])
    head = _INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", _CONTROLS.sub("", head))
    if len(text) > 4 * limit or len(head) > limit:
        return f"{head[:limit]}… ({len(text):,} characters in all)"
    return head


def one_line(text: str, limit: int = NOTE_LIMIT) -> str:
    """Foreign text on one line."""
    return " ".join(foreign_text(text, limit).split())


def money(usd_micros: float | None) -> str:
    """US dollars with as many digits as matter: `$12.40`, `$0.031`, `$0`, `unknown`."""
    if usd_micros is None:
        return UNKNOWN
    usd = usd_micros / 1e6
    if usd == 0:
        return "$0"
    if usd >= 1000:
        return f"${usd:,.0f}"
    return f"${usd:.2f}" if usd >= 0.1 else f"${usd:.2g}" if usd >= 1e-4 else "<$0.0001"


def tokens(count: float | None) -> str:
    """Tokens as `950`, `12.3k`, `4.5M`, `1.2G`, `unknown`."""
    if count is None:
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size * 0.9995:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}"


def duration(seconds: float | None) -> str:
    """A duration, `unknown` for None."""
    return "0s" if seconds == 0 else format_duration(seconds)


def share(value: float | None) -> str:
    """A share (0-1) as a percentage that does not round to 0 or 100 what is not; `unknown` for None."""
    if value is None:
        return UNKNOWN
    if 0 < value < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def mean_of(found: Measure, kind: str) -> str:
    """The mean as `money`, `tokens`, `duration` or plain `number`, with its coverage when something is unknown."""
    if found.mean is None:
        return UNKNOWN if found.of else "–"
    text = FORMATS[kind](found.mean)
    return text if found.complete else f"{text} ({found.known}/{found.of})"


def sum_of(found: Measure, kind: str) -> str:
    """The sum; with something unknown it is a lower bound and says so."""
    if found.total is None:
        return UNKNOWN if found.of else "–"
    text = FORMATS[kind](found.total)
    return text if found.complete else f"≥ {text} ({found.known}/{found.of})"


def total_known(measures: Iterable[Measure]) -> tuple[int, int]:
    """Known and all values of several measures."""
    every = list(measures)
    return sum(found.known for found in every), sum(found.of for found in every)


def spaced(word: str) -> str:
    """An identifier as words: `context_kill` → `context kill`."""
    return word.replace("_", " ")


FORMATS: Mapping[str, Callable[[float], str]] = {
    "money": money,
    "tokens": tokens,
    "duration": duration,
    "share": share,
    "number": lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
}
