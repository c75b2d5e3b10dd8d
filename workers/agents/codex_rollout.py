"""Codex's rollout files: usage of each step, sub-agents' threads, and when a used-up limit resets."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.domain.events import Compacted, ErrorKind, ErrorSeen, Event, OutputSeen, TurnEnded
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.window import WHOLE
from workers.agents.lines import LineSplitter
from workers.agents.reading import count, inclusive_usage, parse_object, pick, text
from workers.agents.tail import FileTail
from workers.quota_signals import from_codex

# Rollouts hold whole tool outputs and prompts; only these lines are parsed. A match inside such an output costs
# one parse and no more, because the parsed line's own type decides.
_WANTED = (b'"token_usage_record"', b'"token_count"', b'"compacted"', b'"context_compacted"', b'"task_complete"')
_HEAD_BYTES = 400


def usage_of(usage: object) -> TokenUsage:
    """Disjoint kinds: input includes cached tokens and output includes reasoning in Codex."""
    return inclusive_usage(
        prompt=count(usage, "input_tokens"),
        output=count(usage, "output_tokens"),
        cache_read=count(usage, "cached_input_tokens"),
        cache_write=count(usage, "cache_write_input_tokens"),
        reasoning=count(usage, "reasoning_output_tokens"),
    )


class Rollouts:
    """All rollout files below `folder`, from their present ends on."""

    def __init__(self, folder: Path) -> None:
        self.unparsed = 0
        self.found = False  # whether the main thread's own file was seen
        self._folder = folder
        self._tails = {path: FileTail(path, path.stat().st_size) for path in self._files()}
        self._splitters: dict[Path, LineSplitter] = {}
        self._responses: set[str] = set()
        self._limits: object = None
        self._told: object = None

    def read(self, thread: str) -> Iterator[Event]:
        """Events written since the last call; `thread` is the main thread's id, all others are sub-agents'."""
        for path in self._files():
            main = path.stem.endswith(thread)
            self.found = self.found or main
            data = self._tails.setdefault(path, FileTail(path)).read()
            if not data:
                continue
            yield OutputSeen(size_bytes=len(data))
            for line in self._splitters.setdefault(path, LineSplitter()).split(data):
                yield from self._line(line, path, thread)

    def _files(self) -> list[Path]:
        return sorted(self._folder.rglob("rollout-*.jsonl"))

    def _line(self, line: bytes, path: Path, thread: str) -> Iterator[Event]:
        head = line[:_HEAD_BYTES]
        if not any(word in head for word in _WANTED):
            self.unparsed += bool(line.strip()) and not line.rstrip().endswith(b"}")
            return
        record = parse_object(line)
        if record is None:
            self.unparsed += 1
            return
        payload = pick(record, "payload")
        match text(record, "type"):
            case "token_usage_record":
                yield from self._step(payload, path, thread)
            case "compacted":
                yield Compacted()
            case "event_msg":
                yield from self._message(record, payload)

    def _step(self, payload: object, path: Path, thread: str) -> Iterator[Event]:
        own, response = text(payload, "thread_id"), text(payload, "response_id")
        # A forked thread's file begins with a copy of its parent's records.
        if not path.stem.endswith(own) or response in self._responses:
            return
        self._responses.add(response)
        yield TurnEnded(usage=usage_of(pick(payload, "usage")), subagent=own != thread)

    def _message(self, record: Mapping[str, object], payload: object) -> Iterator[Event]:
        kind = text(payload, "type")
        if kind == "token_count":
            self._limits = pick(payload, "rate_limits") or self._limits
            yield from self._quota(record)
        elif kind == "task_complete" and pick(payload, "error", "codex_error_info") == "usage_limit_exceeded":
            yield self._usage_limit(record, payload)

    def _quota(self, record: Mapping[str, object]) -> Iterator[Event]:
        """The windows as they stand, once per change: Codex repeats them with every count of tokens."""
        now = _epoch(text(record, "timestamp"))
        if now is not None and self._limits != self._told:
            self._told = self._limits
            yield from from_codex(self._limits, now)

    def _usage_limit(self, record: Mapping[str, object], payload: object) -> ErrorSeen:
        """The limit with its reset: the latest reset among the windows that are used up."""
        now = _epoch(text(record, "timestamp"))
        full = [seen.resets_at_epoch for seen in from_codex(self._limits, now or 0.0) if seen.used_ppm >= WHOLE]
        resets = max((reset for reset in full if reset is not None), default=None)
        return ErrorSeen(
            kind=ErrorKind.USAGE_LIMIT,
            text=text(payload, "error", "message"),
            retry_after_seconds=None if resets is None or now is None else max(0.0, resets - now),
            resets_at_epoch=resets,
        )


def _epoch(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None
