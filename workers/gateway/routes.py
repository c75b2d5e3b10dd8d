"""Which stage of which attempt a request belongs to, whether it may pass, and where it goes."""

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from orchestrator.domain.events import OutputSeen, RequestEnded, RequestStarted
from orchestrator.domain.fleet import Protocol
from workers.gateway.recording import StageRecorder

GatewayEvent = OutputSeen | RequestStarted | RequestEnded
_VERSION_AT_END = re.compile(r"/v\d+[a-z0-9]*$")
_VERSION_AT_START = re.compile(r"/v1(?:beta\d*|alpha\d*)?(?=/|$)")
# Gemini takes its key in the query too; then it must not go upstream from there either.
_KEY_IN_QUERY = "key="


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where the model requests of one stage go.

    `upstream`: the server's base URL. When it ends in a version (`/v1`, `/api/paas/v4`) that one replaces the
    agent's `/v1` or `/v1beta`; otherwise the agent's path is appended as it is. `secret`: the real key, None for
    servers without one. `on_event` is called from the gateway's thread: it must be quick and must not call the
    gateway. `recorder`: keeps all traffic of the stage.
    """

    attempt_id: str
    stage: str
    upstream: str
    protocol: Protocol
    on_event: Callable[[GatewayEvent], None]
    secret: str | None = field(default=None, repr=False)
    recorder: StageRecorder | None = None


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What the agent of a stage is given: `base_url` (without `/v1`) and the key that only this gateway accepts."""

    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A registered route, its key and where its paths begin."""

    route: Route
    api_key: str = field(repr=False)
    prefix: str

    def accepts(self, headers: Mapping[str, str], raw_path: str) -> bool:
        """Whether the request carries this stage's key, in whichever style of header or query."""
        offered = [*_offered_keys(headers), *_keys_in_query(raw_path)]
        return any(hmac.compare_digest(key.encode("utf-8", "replace"), self.api_key.encode()) for key in offered)

    def target(self, raw_path: str) -> str:
        """The upstream URL of a request whose raw path and query begin with `prefix`."""
        rest = _without_key(raw_path[len(self.prefix) :])
        base = self.route.upstream.rstrip("/")
        return base + (_VERSION_AT_START.sub("", rest) if _VERSION_AT_END.search(base) else rest)


class RouteTable:
    """The routes that are open now. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}

    def add(self, route: Route) -> Entry:
        """Open a route under a fresh random path and key."""
        token = secrets.token_urlsafe(18)
        prefix = f"/a/{quote(route.attempt_id, safe='')}/{quote(route.stage, safe='')}/{token}"
        # Some programs check that a key begins with `sk-`.
        entry = Entry(route=route, api_key=f"sk-bakeoff-{secrets.token_urlsafe(24)}", prefix=prefix)
        with self._lock:
            self._entries[prefix] = entry
        return entry

    def remove(self, prefix: str) -> Entry | None:
        """Close a route; None when it was not open."""
        with self._lock:
            return self._entries.pop(prefix, None)

    def find(self, raw_path: str) -> Entry | None:
        """The route that a raw request path belongs to."""
        parts = raw_path.partition("?")[0].split("/", 5)
        if len(parts) < 5:
            return None
        with self._lock:
            return self._entries.get("/".join(parts[:5]))


def _offered_keys(headers: Mapping[str, str]) -> list[str]:
    keys = [headers.get(name, "") for name in ("x-api-key", "api-key", "x-goog-api-key")]
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        keys.append(token.strip())
    return keys


def _keys_in_query(raw_path: str) -> list[str]:
    fields = raw_path.partition("?")[2].split("&")
    return [unquote(field.removeprefix(_KEY_IN_QUERY)) for field in fields if field.startswith(_KEY_IN_QUERY)]


def _without_key(raw_path: str) -> str:
    path, _, query = raw_path.partition("?")
    fields = query.split("&")
    kept = [field for field in fields if not field.startswith(_KEY_IN_QUERY)]
    if len(kept) == len(fields):
        return raw_path
    return f"{path}?{'&'.join(kept)}" if kept else path
