"""What a session leaves to the one that goes on with its stage: its last words and steps, distilled."""

from collections import deque

from orchestrator.domain.events import Event, InnerStageEnded, MessageSaid, ToolCalled

_MESSAGES, _MESSAGE_CHARS = 3, 2000
_CALLS = 12
_WENT = {True: "", False: " (failed)", None: ""}


class Trail:
    """Follows one session. What it keeps is bounded, so a hand-over never fills the next context by itself."""

    def __init__(self) -> None:
        self._said = deque[str](maxlen=_MESSAGES)
        self._did = deque[str](maxlen=_CALLS)

    def saw(self, event: Event) -> None:
        """Take note of what the agent said and did."""
        if isinstance(event, MessageSaid) and event.text.strip():
            self._said.append(event.text.strip()[-_MESSAGE_CHARS:])
        elif isinstance(event, ToolCalled):
            self._did.append(f"- {event.tool}: {event.signature}{_WENT[event.ok]}")
        elif isinstance(event, InnerStageEnded):
            self._did.append(f"- stage {event.stage} {event.task or ''}{_WENT[event.ok]}")

    def notes(self) -> str:
        """The hand-over in words."""
        said = "\n\n".join(self._said) or "It said nothing."
        did = "\n".join(self._did) or "None is known."
        return f"## Its last words\n\n{said}\n\n## Its last steps\n\n{did}"
