"""What is seen while a stage runs: one vocabulary for agents' streams, the gateway and the clock.

Adapters and the gateway produce these; `watch` decides on them; storage keeps them. All times are
seconds on the machine's boot-time clock unless a name says `_epoch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.usage import TokenUsage


class ErrorKind(StrEnum):
    """Class of an error that an agent or a model server reported in a structured way."""

    RATE_LIMIT = "rate_limit"  # 429 that ends by itself
    USAGE_LIMIT = "usage_limit"  # the subscription window is used up
    QUOTA_EXHAUSTED = "quota_exhausted"  # no credit left: ends only when somebody pays
    AUTH = "auth"
    OVERLOADED = "overloaded"  # 503 / 529
    SERVER = "server"  # other 5xx
    CONTEXT_OVERFLOW = "context_overflow"
    NETWORK = "network"
    BAD_REQUEST = "bad_request"
    AGENT = "agent"  # the agent program itself failed
    UNKNOWN = "unknown"


class EndReason(StrEnum):
    """What the agent itself says about its end. Evidence, not a verdict."""

    FINISHED = "finished"  # a final event of a normal end was seen
    TURN_LIMIT = "turn_limit"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    NO_FINAL_EVENT = "no_final_event"  # the stream just stopped


SUM = "sum"  # reason of a `TurnEnded` that tells, afterwards, tokens of turns that are past


@dataclass(frozen=True, kw_only=True)
class OutputSeen:
    """The agent wrote something (any byte on stdout or in its session file)."""

    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class SessionStarted:
    """The agent named its session, by which it can be resumed."""

    session_id: str


@dataclass(frozen=True, kw_only=True)
class TurnEnded:
    """One model turn ended. `usage` is of this turn alone, `cost_usd_micros` what the agent states."""

    usage: TokenUsage
    cost_usd_micros: int | None = None
    reason: str | None = None
    model: str | None = None
    subagent: bool = False


@dataclass(frozen=True, kw_only=True)
class ToolCalled:
    """The agent ran a tool. `signature` identifies tool and arguments (equal = the same call again)."""

    tool: str
    signature: str
    ok: bool | None = None


@dataclass(frozen=True, kw_only=True)
class MessageSaid:
    """Text that the agent addressed to the user. The last one is the stage's answer."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """The agent compacted its context."""


@dataclass(frozen=True, kw_only=True)
class ErrorSeen:
    """A structured error, from the agent's stream or as an HTTP answer at the gateway."""

    kind: ErrorKind
    text: str = ""
    status: int | None = None
    retry_after_seconds: float | None = None
    resets_at_epoch: float | None = None


@dataclass(frozen=True, kw_only=True)
class QuotaSeen:
    """The provider stated how much of a quota window is used, by its short name (`5h`, `7d`, `requests`).

    `used_ppm` is in parts per million of the window and may exceed it. `source` is where it was read.
    """

    window: str
    used_ppm: int
    resets_at_epoch: float | None
    length_seconds: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class AgentEnded:
    """The adapter's reading of the agent's end, made when the process is gone."""

    reason: EndReason
    exit_code: int | None
    final_text: str = ""


@dataclass(frozen=True, kw_only=True)
class LimitsChanged:
    """A person changed limits of the job, by name; None = unlimited. They hold from here on."""

    changes: Mapping[str, float | int | None]


@dataclass(frozen=True, kw_only=True)
class RequestStarted:
    """The gateway forwards a model request."""

    request_id: str
    model: str | None


@dataclass(frozen=True, kw_only=True)
class RequestEnded:
    """A model request ended at the gateway, by an answer, an error or a broken connection.

    `first_byte_seconds` and `duration_seconds` count from the arrival of the request. `limit_headers` holds
    the provider's rate-limit headers, lower-cased. `usage` is None when the answer did not tell it.
    """

    request_id: str
    model_asked: str | None
    model_served: str | None
    status: int | None
    usage: TokenUsage | None
    first_byte_seconds: float | None
    duration_seconds: float
    request_bytes: int
    response_bytes: int
    error: ErrorSeen | None = None
    limit_headers: dict[str, str] = field(default_factory=dict)
    path: str = ""


Event = (
    OutputSeen
    | SessionStarted
    | TurnEnded
    | ToolCalled
    | MessageSaid
    | Compacted
    | ErrorSeen
    | QuotaSeen
    | AgentEnded
    | RequestStarted
    | RequestEnded
    | LimitsChanged
)
