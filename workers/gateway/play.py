"""Decides what a scripted model does with a request: which rule, which turn, which fault, which token counts.

Nothing but the counters of `times` is kept between requests, so a retried request gets the same turn again.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workers.gateway.conversation import Conversation
from workers.gateway.script import ErrorFault, Match, Rule, Script, Turn
from workers.gateway.toolcalls import ToolCall, call_of

# Beyond this many conversations with unfinished counters the oldest are forgotten.
_MAX_COUNTERS = 10_000
_REASONING_TOKENS = 12


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The token counts an answer states: `prompt` includes `cached`, `completion` includes `reasoning`."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer. With `error` nothing else counts."""

    model: str
    text: str
    call: ToolCall | None
    counts: Counts
    delay_seconds: float = 0.0
    error: ErrorFault | None = None
    silence: Literal["start", "mid"] | None = None
    cut: bool = False


class Player:
    """Plays one script to any number of conversations."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._failed: OrderedDict[tuple[str, int, str], int] = OrderedDict()

    def knows(self, model: str) -> bool:
        """Whether the script has rules for this model name."""
        return model in self.script.models or "*" in self.script.models

    def reply(self, request: Conversation, key: str, stage_in_path: str = "") -> Reply | None:
        """The answer to a request of a known model; None when no rule matches."""
        rules = self.script.models.get(request.model) or self.script.models["*"]
        rule = next((rule for rule in rules if matches(rule.match, request, stage_in_path)), None)
        if _is_side_request(rule, request):
            return _side_reply(rule, request)
        if rule is None:
            return None
        number = _turn_number(rule, request)
        turn = rule.turn(number)
        call = call_of(turn, number, request)
        spoken = turn.say if turn.say is not None else f"Step {number + 1}: running a command."
        cut = self._cut(turn, key, number)
        return Reply(
            model=turn.served_as or rule.served_as or request.model,
            text=spoken,
            call=call,
            counts=_counts(rule, turn, number, request, spoken, call),
            delay_seconds=turn.delay or rule.delay or 0.0,
            error=self._error(turn, key, number),
            silence=turn.silence,
            cut=cut,
        )

    def _error(self, turn: Turn, key: str, number: int) -> ErrorFault | None:
        error = turn.error
        if error is None or error.times is None:
            return error
        return error if self._once_more((key, number, "error"), error.times) else None

    def _cut(self, turn: Turn, key: str, number: int) -> bool:
        if isinstance(turn.half_stream, bool):
            return turn.half_stream
        return self._once_more((key, number, "cut"), turn.half_stream)

    def _once_more(self, counter: tuple[str, int, str], times: int) -> bool:
        """Count a failure. The request after the last one passes and forgets, so that a repeat begins anew."""
        failed = self._failed.pop(counter, 0)
        if failed >= times:
            return False
        self._failed[counter] = failed + 1
        if len(self._failed) > _MAX_COUNTERS:
            self._failed.popitem(last=False)
        return True


def matches(match: Match, request: Conversation, stage_in_path: str = "") -> bool:
    """Whether all conditions of a rule hold for a request."""
    first, last = request.first.lower(), request.last.lower()
    return all(
        (
            match.prompt is None or match.prompt.lower() in first or match.prompt.lower() in last,
            match.first is None or match.first.lower() in first,
            match.last is None or match.last.lower() in last,
            match.regex is None or any(re.search(match.regex, words) for words in (request.first, request.last)),
            match.stage is None or match.stage.lower() == (stage_in_path or stage_of(request)),
        )
    )


def stage_of(request: Conversation) -> str:
    """The stage that a prompt names in a line `stage: NAME`, lower-cased; the last prompt's comes first."""
    for words in (request.last, request.first):
        found = re.search(r"(?im)^\W*stage\s*[:=]\s*\W?([\w.-]+)", words)
        if found:
            return found.group(1).lower()
    return ""


def _is_side_request(rule: Rule | None, request: Conversation) -> bool:
    """Requests without tools, for titles and summaries, beside a conversation that uses tools."""
    if request.tools:
        return False
    return rule is None or any(turn.bash is not None or turn.write is not None for turn in rule.turns)


def _side_reply(rule: Rule | None, request: Conversation) -> Reply:
    words = f"{request.system} {request.first}".lower()
    answer = "Scripted conversation" if "title" in words else "Summary: the scripted work goes on."
    prompt = max(1, request.size_chars // 4)
    counts = Counts(prompt=prompt, completion=max(1, len(answer) // 4), cached=0, reasoning=0)
    model = (rule.served_as if rule else None) or request.model
    return Reply(model=model, text=answer, call=None, counts=counts)


def _turn_number(rule: Rule, request: Conversation) -> int:
    if not request.tools:
        return request.answers
    return request.results_since_prompt if rule.count_from == "last_prompt" else request.results


def _counts(rule: Rule, turn: Turn, number: int, request: Conversation, spoken: str, call: ToolCall | None) -> Counts:
    stated = turn.usage
    written = len(spoken) + (len(call.name) + len(call.json) if call else 0)
    prompt = _stated(stated.prompt_tokens, rule.grow * (number + 1) if rule.grow else max(1, request.size_chars // 4))
    reasoning = _stated(stated.reasoning_tokens, _REASONING_TOKENS if request.tools else 0)
    # After the first turn most of the prompt is what the turn before sent.
    cached = _stated(stated.cached_tokens, prompt * 3 // 4 if number else 0)
    completion = _stated(stated.completion_tokens, max(1, written // 4) + reasoning)
    return Counts(
        prompt=prompt, completion=completion, cached=min(cached, prompt), reasoning=min(reasoning, completion)
    )


def _stated(value: int | None, default: int) -> int:
    return default if value is None else value


def stage_in_prefix(prefix: str) -> str:
    """The stage that a URL prefix names as `/stage-NAME` or `/stage=NAME`, lower-cased."""
    found = re.search(r"/stage[-=:]([\w.-]+)", prefix, re.IGNORECASE)
    return found.group(1).lower() if found else ""


def headers_lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in headers.items()}
