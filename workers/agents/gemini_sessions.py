"""Gemini CLI's session files: usage of each step, and of sub-agents, which have files of their own."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.events import Event, OutputSeen, TurnEnded
from orchestrator.domain.usage import TokenUsage
from workers.agents.reading import count, parse_object, pick, text
from workers.agents.session_files import SessionFiles

# Session files hold whole tool outputs and prompts; only these lines are parsed.
_WANTED = b'"tokens":{'


class GeminiSessions:
    """All session files below `home`, from their present ends on."""

    def __init__(self, home: Path) -> None:
        self.unparsed = 0
        self.told = TokenUsage()  # the sum of all steps
        self._files = SessionFiles(home, "tmp/*/chats/**/*.jsonl")
        self._seen: set[str] = set()

    def read(self) -> Iterator[Event]:
        """Events written since the last call."""
        for path, size_bytes, lines in self._files.grown():
            yield OutputSeen(size_bytes=size_bytes)
            for line in lines:
                yield from self._line(line, subagent=path.parent.name != "chats")

    def _line(self, line: bytes, *, subagent: bool) -> Iterator[Event]:
        if _WANTED not in line:
            self.unparsed += bool(line.strip()) and not line.rstrip().endswith(b"}")
            return
        record = parse_object(line)
        if record is None:
            self.unparsed += 1
            return
        message = text(record, "id")
        # A step is written again when its tools are done.
        if message in self._seen or not isinstance(tokens := pick(record, "tokens"), dict):
            return
        self._seen.add(message)
        usage = _usage_of(tokens)
        self.told += usage
        yield TurnEnded(usage=usage, subagent=subagent)


def _usage_of(tokens: object) -> TokenUsage:
    """Disjoint kinds: input includes cached tokens, output excludes reasoning. `tool` is what searches put in."""
    prompt, cached = count(tokens, "input"), count(tokens, "cached")
    extra = count(tokens, "tool") or 0
    return TokenUsage(
        input=None if prompt is None else max(0, prompt - (cached or 0)) + extra,
        output=count(tokens, "output"),
        cache_read=cached,
        reasoning=count(tokens, "thoughts"),
    )
