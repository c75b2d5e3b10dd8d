"""Which headers pass the gateway in either direction, and how the real key goes in."""

from collections.abc import Iterator, Sequence

from multidict import CIMultiDict, CIMultiDictProxy

from orchestrator.domain.fleet import Protocol
from workers.gateway.quoting import hidden

# As they stood on the wire: the HTTP library's own mapping changes the case of names.
RawHeaders = Sequence[tuple[bytes, bytes]]
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        # What a request expects before its body, its sender has been answered by us.
        *("te", "trailer", "transfer-encoding", "upgrade", "expect"),
    }
)
# The agent's credentials never go upstream, ours go in their place; Host is the upstream's; an answer that is not
# compressed can be read beside the stream without changing a byte of it.
_REPLACED = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "host", "accept-encoding"}
)
_LIMITS = ("x-ratelimit", "ratelimit", "anthropic-ratelimit", "x-codex-", "retry-after", "x-should-retry")
_MAX_LIMIT_HEADERS = 64
_MAX_VALUE_CHARS = 256
_OAUTH_PREFIX = "sk-ant-oat"
_OAUTH_BETA = "oauth-2025-04-20"


def upstream_headers(received: RawHeaders, protocol: Protocol, secret: str | None) -> CIMultiDict[str]:
    """The agent's headers as they go upstream, with the real key in the protocol's style."""
    headers = CIMultiDict(_passing(received, _REPLACED))
    headers["Accept-Encoding"] = "identity"
    if secret is None:
        return headers
    if protocol == "messages" and not secret.startswith(_OAUTH_PREFIX):
        headers["x-api-key"] = secret
        return headers
    if protocol == "gemini":
        headers["x-goog-api-key"] = secret
        return headers
    headers["Authorization"] = f"Bearer {secret}"
    # The Messages API takes an OAuth token only when the request names this beta.
    if protocol == "messages" and _OAUTH_BETA not in ",".join(headers.getall("anthropic-beta", [])):
        headers.add("anthropic-beta", _OAUTH_BETA)
    return headers


def downstream_headers(received: RawHeaders, secret: str | None) -> CIMultiDict[str]:
    """The upstream's headers as the agent gets them: all but the hop-by-hop ones, and with the secret starred out."""
    own = (secret or "").encode()
    return CIMultiDict(_passing([(name, hidden(value, own)) for name, value in received], frozenset()))


def limit_headers(received: CIMultiDictProxy[str]) -> dict[str, str]:
    """The provider's rate-limit headers, lower-cased and bounded."""
    found = ((name.lower(), value) for name, value in received.items())
    limits = [(name, value[:_MAX_VALUE_CHARS]) for name, value in found if name.startswith(_LIMITS)]
    return dict(limits[:_MAX_LIMIT_HEADERS])


def _passing(received: RawHeaders, without: frozenset[str]) -> Iterator[tuple[str, str]]:
    # Bytes that are no UTF-8 cannot be written again by the library; they must not break the request.
    headers = [(name.decode("utf-8", "replace"), value.decode("utf-8", "replace")) for name, value in received]
    named = {
        part.strip().lower() for name, value in headers if name.lower() == "connection" for part in value.split(",")
    }
    drop = _HOP_BY_HOP | named | without
    return ((name, value) for name, value in headers if name.lower() not in drop)
