"""Qwen Code's session files: every answer and refusal of the model, also beside the conversation."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.events import Compacted, ErrorSeen, Event, OutputSeen, TurnEnded
from orchestrator.domain.provider_errors import kind_of_status
from workers.agents.reading import count, inclusive_usage, parse_object, pick, text
from workers.agents.session_files import SessionFiles

# Session files hold whole tool outputs and prompts; only these lines are parsed.
_WANTED = (b'"qwen-code.api_response"', b'"qwen-code.api_error"', b'"chat_compression"')
# The requests of the conversation; those of sub-agents and of its own housekeeping have a name between the marks.
_MAIN_MARK = "########"
_COMPRESSED = 1


class QwenSessions:
    """All session files below `home`, from their present ends on."""

    def __init__(self, home: Path) -> None:
        self.unparsed = 0
        self.errors: set[str] = set()  # messages of the errors that were told
        self._home = home
        self._files = SessionFiles(home, "projects/*/chats/**/*.jsonl")

    def has(self, session: str) -> bool:
        """Whether this session is kept in a file; it is from its first prompt on, unless that was switched off."""
        return any(self._home.glob(f"projects/*/chats/{session}.jsonl"))

    def read(self) -> Iterator[Event]:
        """Events written since the last call."""
        for _, size_bytes, lines in self._files.grown():
            yield OutputSeen(size_bytes=size_bytes)
            for line in lines:
                yield from self._line(line)

    def _line(self, line: bytes) -> Iterator[Event]:
        if not any(word in line for word in _WANTED):
            self.unparsed += bool(line.strip()) and not line.rstrip().endswith(b"}")
            return
        record = parse_object(line)
        if record is None:
            self.unparsed += 1
            return
        payload = pick(record, "systemPayload")
        if text(record, "subtype") == "chat_compression":
            if count(payload, "info", "compressionStatus") == _COMPRESSED:
                yield Compacted()
        elif text(record, "subtype") == "ui_telemetry":
            yield from self._request(pick(payload, "uiEvent"))

    def _request(self, event: object) -> Iterator[Event]:
        match text(event, "event.name"):
            case "qwen-code.api_response":
                yield _turn(event)
            case "qwen-code.api_error":
                message, status = text(event, "error_message"), count(event, "status_code")
                self.errors.add(message)
                yield ErrorSeen(kind=kind_of_status(status), text=message, status=status)


def _turn(event: object) -> TurnEnded:
    """Disjoint kinds: input includes cached tokens and output includes reasoning. Nothing at all was not told."""
    told = count(event, "total_token_count") != 0
    usage = inclusive_usage(
        prompt=count(event, "input_token_count") if told else None,
        output=count(event, "output_token_count") if told else None,
        cache_read=count(event, "cached_content_token_count") if told else None,
        cache_write=None,
        reasoning=count(event, "thoughts_token_count") if told else None,
    )
    # The model that it names is the one that was asked.
    return TurnEnded(usage=usage, subagent=_MAIN_MARK not in text(event, "prompt_id"))
