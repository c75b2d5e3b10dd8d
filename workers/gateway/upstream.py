"""The connections to the model servers: no hidden time limits, and one careful answer to stale pooled ones."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import SimpleNamespace

import aiohttp
from yarl import URL

# A server that does not even accept a connection in this time is down; a slow answer is another matter.
_CONNECT_SECONDS = 30.0
# A pooled connection that the server closed meanwhile breaks within a round trip. Later it is the server that broke.
_STALE_SECONDS = 2.0
# Some agents send their turn's metadata as one header of several KiB.
MAX_HEADER_BYTES = 65536


class _Sending(SimpleNamespace):
    reused: bool = False


class Upstreams:
    """Sends requests to model servers. Use as an asynchronous context manager, in the gateway's loop."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Upstreams":
        self._pooled = await self._stack.enter_async_context(_session(force_close=False))
        self._fresh = await self._stack.enter_async_context(_session(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """The beginning of the answer. Raises aiohttp.ClientError or OSError when there is none.

        Servers close idle connections without a word, and a request may meet that. When a reused connection breaks
        at once and before any answer, the request goes once more over a new one; every other fault is the caller's.
        """
        sending, began = _Sending(), time.monotonic()
        try:
            return await _send(self._pooled, method, url, headers, body, sending)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            again = sending.reused and time.monotonic() - began < _STALE_SECONDS
            if not again or isinstance(body, AsyncIterator):
                raise
        return await _send(self._fresh, method, url, headers, body, _Sending())


async def _send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | AsyncIterator[bytes] | None,
    sending: _Sending,
) -> aiohttp.ClientResponse:
    return await session.request(
        method,
        url,
        headers=headers,
        data=body,
        # Following would send the key to wherever the answer says.
        allow_redirects=False,
        trace_request_ctx=sending,
    )


def _session(*, force_close: bool) -> aiohttp.ClientSession:
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, force_close=force_close),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        trace_configs=[trace],
    )


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True
