"""Answers from cassettes: which take a request gets, and the server that sends it.

Requests are recognised by their shape and answered in the order in which they were recorded, stage after stage. One
that was not recorded is refused with what was asked and what would come next, and is never answered by a guess.
"""

import asyncio
import sys
from collections.abc import Sequence

from aiohttp import web

from workers.gateway.cassette import End, Shape, Take, as_bytes, shape_of
from workers.gateway.scripted_errors import ErrorAnswer, plain_error


class Deck:
    """The takes that are left. A stage is over once a request fits the next one and nothing of its own.

    What only looks, such as a list of models, is answered as often as somebody looks: workers do, too.
    """

    def __init__(self, stages: Sequence[Sequence[Take]]) -> None:
        self._looks = [take for takes in stages for take in takes if take.shape.method != "POST"]
        asked = ([take for take in takes if take.shape.method == "POST"] for takes in stages)
        self._stages = [takes for takes in asked if takes]
        self.recorded = sum(len(takes) for takes in self._stages)

    @property
    def left(self) -> int:
        """Takes that no request has asked for."""
        return sum(len(takes) for takes in self._stages)

    def take(self, asked: Shape) -> Take | None:
        """The first take that fits; None when none of this stage or the next does."""
        if asked.method != "POST":
            return next((look for look in self._looks if look.shape.fits(asked)), None)
        for at, takes in enumerate(self._stages[:2]):
            for place, take in enumerate(takes):
                if take.shape.fits(asked):
                    del takes[place]
                    # Beginning the next stage ends this one.
                    self._stages = [left for left in self._stages[at:] if left]
                    return take
        return None

    def expected(self) -> str:
        """What was recorded next, in words."""
        return f"next recorded: {self._stages[0][0].shape}" if self._stages else "everything recorded was played"


class ReplayServer:
    """The HTTP side. It writes a line on standard error for every request that was not recorded."""

    def __init__(self, stages: Sequence[Sequence[Take]]) -> None:
        self.deck = Deck(stages)
        self.unmatched = 0

    def application(self) -> web.Application:
        """The server as an application."""
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    def summary(self) -> str:
        """How the replay went."""
        deck = self.deck
        played = deck.recorded - deck.left
        return f"replayed {played} of {deck.recorded} recorded answers; {self.unmatched} requests were not recorded"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        shape = shape_of(request.method, request.raw_path.partition("?")[0], await request.read())
        expected = self.deck.expected()
        take = self.deck.take(shape)
        if take is not None:
            return await _play(take, request)
        if request.method != "POST":
            # Probes, such as those of a model server's health: they are the worker's, not the agent's.
            return web.json_response({"error": {"message": "not recorded"}}, status=404)
        self.unmatched += 1
        message = f"not recorded: {shape}; {expected}"
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
        protocol = "gemini" if ":" in request.path else "messages" if request.path.endswith("/messages") else "chat"
        return _refused(plain_error(protocol, 400, "not_recorded", message))


async def _play(take: Take, request: web.Request) -> web.StreamResponse:
    if take.status is None:
        return await _silence_or_break(take, request, web.Response())
    response = web.StreamResponse(status=take.status, headers=take.headers)
    await response.prepare(request)
    await response.write(as_bytes(take.body))
    if take.end is not End.WHOLE:
        return await _silence_or_break(take, request, response)
    await response.write_eof()
    return response


async def _silence_or_break(take: Take, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """As it ended then: whoever left will leave again, and gets no answer until it does."""
    if take.end is End.LEFT:
        await asyncio.Event().wait()
    if request.transport is not None:
        request.transport.close()
    return response


def _refused(answer: ErrorAnswer) -> web.Response:
    return web.Response(
        status=answer.status, headers=answer.headers, body=answer.body, content_type="application/json"
    )
