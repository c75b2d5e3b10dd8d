"""The HTTP side of the scripted model server: any prefix, then the usual paths of the four protocols."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping

from aiohttp import web

from workers.gateway.conversation import Conversation, read_request
from workers.gateway.jsonvalues import JsonObject, parse_object
from workers.gateway.play import Player, Reply, headers_lower, stage_in_prefix
from workers.gateway.render import RENDERERS
from workers.gateway.script import ErrorFault, Script
from workers.gateway.scripted_errors import ErrorAnswer, error_answer, plain_error
from workers.gateway.scripted_quota import Doors, QuotaWindow

_PROTOCOLS = {"chat/completions": "chat", "messages": "messages", "responses": "responses"}
_GEMINI_PATH = "/{prefix:.*?}{slash:/?}{version:v1(?:beta|alpha)?}/models/{model:[^/:]+}:{call}"


def scripted_application(script: Script) -> web.Application:
    """The server as an application; it keeps nothing but the counters of `times`."""
    server = _ScriptedServer(script)
    application = web.Application(client_max_size=0)
    application.router.add_get("/{prefix:.*?}{slash:/?}health", server.health)
    application.router.add_get("/{prefix:.*?}{slash:/?}v1/models", server.models)
    application.router.add_post("/{prefix:.*?}{slash:/?}v1/messages/count_tokens", server.count_tokens)
    for path, protocol in _PROTOCOLS.items():
        application.router.add_post("/{prefix:.*?}{slash:/?}v1/" + path, server.answerer(protocol))
    application.router.add_post(_GEMINI_PATH, server.gemini)
    return application


class _ScriptedServer:
    def __init__(self, script: Script) -> None:
        self.player = Player(script)
        self.quota = QuotaWindow(script.quota) if script.quota else None
        self.doors = Doors(script.at_once)

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(self, request: web.Request) -> web.Response:
        names = [name for name in self.player.script.models if name != "*"]
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in names]
        return web.json_response({"object": "list", "data": listed})

    async def count_tokens(self, request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": max(1, len(await request.read()) // 4)})

    async def gemini(self, request: web.Request) -> web.StreamResponse:
        """Gemini's calls are told apart by the path's end."""
        call = request.match_info["call"]
        if call == "countTokens":
            return web.json_response({"totalTokens": max(1, len(await request.read()) // 4)})
        if call in ("generateContent", "streamGenerateContent"):
            return await self.answerer("gemini")(request)
        return _plain(plain_error("gemini", 404, "not_found", f"there is no call {call!r}"))

    def answerer(self, protocol: str) -> "_Answerer":
        return _Answerer(self.player, protocol, self.quota, self.doors)


class _Answerer:
    """Answers the model requests of one protocol."""

    def __init__(self, player: Player, protocol: str, quota: QuotaWindow | None, doors: Doors) -> None:
        self.player = player
        self.protocol = protocol
        self.quota = quota
        self.doors = doors

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = parse_object(raw)
        if body is None:
            return _plain(plain_error(self.protocol, 400, "invalid_json", "the request body is not a JSON object"))
        with self.doors.open() as admitted:
            if not admitted:
                return _plain(error_answer(self.protocol, ErrorFault(kind="rate_limit"), time.time()))
            return await self._admitted(request, body, len(raw))

    async def _admitted(self, request: web.Request, body: JsonObject, size: int) -> web.StreamResponse:
        found = self._reply(request, body, size)
        if isinstance(found, ErrorAnswer):
            return _plain(found)
        limits = self.quota.enter(self.protocol, time.time()) if self.quota else {}
        if isinstance(limits, ErrorAnswer):
            return _plain(limits)
        conversation, reply = found
        return await self._answer(request, conversation, reply, limits)

    def _reply(self, request: web.Request, body: JsonObject, size: int) -> tuple[Conversation, Reply] | ErrorAnswer:
        conversation = read_request(self.protocol, {**body, **_in_the_path(request)}, size)
        if not self.player.knows(conversation.model):
            message = f"the script has no model {conversation.model!r}"
            return plain_error(self.protocol, 404, "model_not_found", message)
        prefix = "/" + request.match_info["prefix"]
        key = conversation.key(headers_lower(request.headers), prefix)
        reply = self.player.reply(conversation, key, stage_in_prefix(prefix))
        if reply is None:
            message = f"no rule of {conversation.model!r} matches this prompt"
            return plain_error(self.protocol, 404, "no_rule_matches", message)
        return conversation, reply

    async def _answer(
        self, request: web.Request, asked: Conversation, reply: Reply, limits: Mapping[str, str]
    ) -> web.StreamResponse:
        if reply.silence == "start" and reply.error is None:
            await _for_ever()
        await asyncio.sleep(reply.delay_seconds)
        if reply.error is not None:
            return _plain(error_answer(self.protocol, reply.error, time.time()))
        created = int(time.time())
        renderer = RENDERERS[self.protocol]
        if asked.stream:
            kind = "application/json" if asked.as_array else "text/event-stream"
            parts = list(renderer.events(reply, asked, created))
            return await _send(request, reply, parts, {**limits, "Content-Type": kind}, None)
        whole = json.dumps(renderer.whole(reply, created)).encode()
        middle = len(whole) // 2
        headers = {**limits, "Content-Type": "application/json"}
        return await _send(request, reply, [whole[:middle], whole[middle:]], headers, len(whole))


def _in_the_path(request: web.Request) -> JsonObject:
    """What Gemini's path says instead of the body."""
    model, call = request.match_info.get("model"), request.match_info.get("call")
    if model is None:
        return {}
    alt = "sse" if request.query.get("alt") == "sse" else "json"
    return {"model": model, "stream": call == "streamGenerateContent", "alt": alt}


async def _send(
    request: web.Request, reply: Reply, parts: list[bytes], headers: Mapping[str, str], length: int | None
) -> web.StreamResponse:
    """The parts one by one; half of them when the script wants silence or a cut in the middle."""
    response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache"})
    response.content_length = length
    await response.prepare(request)
    broken = reply.cut or reply.silence == "mid"
    await _write_all(response, parts[: len(parts) // 2] if broken else parts)
    if reply.silence == "mid":
        await _for_ever()
    if reply.cut and request.transport is not None:
        request.transport.close()
        return response
    await response.write_eof()
    return response


async def _write_all(response: web.StreamResponse, parts: Iterable[bytes]) -> None:
    for part in parts:
        await response.write(part)


async def _for_ever() -> None:
    """Until the client goes away, which cancels the handler."""
    await asyncio.Event().wait()


def _plain(answer: ErrorAnswer) -> web.Response:
    return web.Response(
        status=answer.status, headers=answer.headers, body=answer.body, content_type="application/json"
    )
