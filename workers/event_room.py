"""How many events of one stage go to the database: an agent that calls a tool a million times must not fill it."""

from dataclasses import dataclass

from orchestrator.domain.events import AgentEnded, Event, LimitsChanged, SessionStarted

# Few, and without them nobody could say how the stage went.
_ALWAYS = (AgentEnded, LimitsChanged, SessionStarted)


@dataclass
class EventRoom:
    """The bounds, in events and in characters of their texts, and how many were let in and left out so far."""

    most_events: int = 20_000
    most_chars: int = 8_000_000
    kept: int = 0
    left_out: int = 0
    chars: int = 0

    def admits(self, event: Event, chars: int) -> bool:
        """Whether this event, with so much text, is recorded; it is counted either way."""
        full = self.kept >= self.most_events or self.chars + chars > self.most_chars
        if full and not isinstance(event, _ALWAYS):
            self.left_out += 1
            return False
        self.kept += 1
        self.chars += chars
        return True

    def note(self) -> dict[str, int]:
        """What to record about those that were left out; empty when there are none."""
        return {"kept": self.kept, "left_out": self.left_out} if self.left_out else {}
