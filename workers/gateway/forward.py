"""Passes one request upstream and its answer back, byte for byte, while an exchange reads along."""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import ClientError, ClientResponse, HttpVersion11, web
from yarl import URL

from workers.gateway.exchange import Exchange
from workers.gateway.headers import downstream_headers, upstream_headers
from workers.gateway.quoting import Quoted
from workers.gateway.routes import Entry
from workers.gateway.upstream import Upstreams

# Bodies up to this size are held until complete, so that the model asked for is known before the request goes on.
MAX_HELD_BODY_BYTES = 8 * 1024 * 1024
_GIVEN = web.RequestKey("given", frozenset[str])


async def forward(upstreams: Upstreams, entry: Entry, request: web.Request, exchange: Exchange) -> web.StreamResponse:
    """Carry out one admitted request. The exchange is told of everything, its end included."""
    try:
        held, complete = await _hold(request)
        exchange.request_bytes = len(held)
        exchange.started(held if complete else None)
        body = held if complete else _rest(request, held, exchange)
        return await _exchange(upstreams, entry, request, exchange, body)
    except asyncio.CancelledError:
        exchange.ended("aborted: the agent closed the connection or its stage ended", left=True)
        raise
    except (ClientError, OSError) as error:
        # A broken connection to the agent arrives here too; then nobody reads the answer below.
        exchange.ended(f"upstream: {type(error).__name__}")
        reason = f"the model server cannot be reached: {type(error).__name__}"
        return error_response(502, "gateway_upstream_unreachable", reason)
    finally:
        exchange.ended("the gateway could not carry the request through")


async def _exchange(
    upstreams: Upstreams,
    entry: Entry,
    request: web.Request,
    exchange: Exchange,
    body: bytes | AsyncIterator[bytes],
) -> web.StreamResponse:
    headers = upstream_headers(request.raw_headers, entry.route.protocol, entry.route.secret)
    url = URL(entry.target(request.raw_path), encoded=True)
    opening = upstreams.request(request.method, url, headers, body if request.body_exists else None)
    async with await opening as upstream:
        exchange.answered(upstream)
        secret = entry.route.secret if upstream.status >= 400 else None
        quoted = Quoted(secret)
        response = _head(upstream, request, secret)
        request[_GIVEN] = frozenset(name.lower() for name in upstream.headers)
        await response.prepare(request)
        try:
            async for chunk in upstream.content.iter_any():
                exchange.passed(chunk)
                await response.write(quoted.passing(chunk))
            await response.write(quoted.rest())
        except (ClientError, OSError) as error:
            exchange.ended(f"broken while streaming: {type(error).__name__}")
            _break_off(request)
            return response
        # Before the agent can see the end of a stream: whoever reacts to it finds the request reported.
        exchange.ended()
        await response.write_eof()
        return response


async def only_upstream_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Take back what the HTTP library adds on its own: the agent gets the upstream's headers and no others."""
    given = request.get(_GIVEN)
    if given is None:
        return
    for name in ("Server", "Date", "Content-Type"):
        if name.lower() not in given:
            response.headers.pop(name, None)


def _head(upstream: ClientResponse, request: web.Request, secret: str | None) -> web.StreamResponse:
    response = web.StreamResponse(
        status=upstream.status, reason=upstream.reason, headers=downstream_headers(upstream.raw_headers, secret)
    )
    bodiless = upstream.method == "HEAD" or upstream.status in (204, 304)
    # To a client of HTTP/1.0 the end of the connection is the end of such an answer.
    if upstream.content_length is None and not bodiless and request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    return response


async def _hold(request: web.Request) -> tuple[bytes, bool]:
    held = bytearray()
    async for chunk in request.content.iter_any():
        held += chunk
        if len(held) > MAX_HELD_BODY_BYTES:
            return bytes(held), False
    return bytes(held), True


async def _rest(request: web.Request, held: bytes, exchange: Exchange) -> AsyncIterator[bytes]:
    yield held
    async for chunk in request.content.iter_any():
        exchange.request_bytes += len(chunk)
        yield chunk


def _break_off(request: web.Request) -> None:
    """Let the agent see what happened: a connection that ends before its answer does."""
    if request.transport is not None:
        request.transport.close()


def error_response(status: int, code: str, message: str) -> web.Response:
    """An answer of the gateway's own, in a shape that clients of every protocol understand."""
    body = {"type": "error", "error": {"type": code, "code": code, "message": message}}
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")
