"""Asks a model server what it is and how it is: a few small GETs, bounded in time and size."""

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Protocol

import aiohttp

from orchestrator.domain.model_server import Health, ServerReport
from workers.models import llamacpp, ollama, openai, vllm
from workers.models.answers import Answer, Answers

# A healthy server answers in milliseconds, and on a machine that is busy with a long prompt in a second or two.
TIMEOUT_SECONDS = 5.0
# The longest are the metrics of a vLLM server, with some 100 KiB.
_MOST_BYTES = 2 * 1024 * 1024
# What a proxy says of a server behind it that is away.
_AWAY = frozenset({502, 503, 504})


class Reader(Protocol):
    """One kind of server."""

    PATHS: tuple[str, ...]

    def recognises(self, answers: Answers) -> bool:
        """Whether this kind of server gave these answers."""

    def read(self, answers: Answers) -> ServerReport:
        """What they tell."""


# In this order: the later ones also recognise some of what the earlier ones are.
READERS: tuple[Reader, ...] = (llamacpp, vllm, ollama, openai)
_ALL_PATHS = tuple(dict.fromkeys(path for reader in READERS for path in reader.PATHS))


class Prober:
    """Looks at one server again and again; what kind it is, is found out once."""

    def __init__(self, base_url: str, key: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._key, self._timeout_seconds = key, timeout_seconds
        self._reader: Reader | None = None

    def look(self) -> ServerReport:
        """One look. Never raises for what a server does or is.

        Takes at most twice the timeout: a server that has not answered in time is asked once more.
        """
        answers = self._ask()
        if _silent(answers) and any(answer.timed_out for answer in answers.values()):
            answers = self._ask()
        if self._reader is not None and not self._reader.recognises(answers):
            # Another program may listen there by now.
            self._reader = None
            if not _silent(answers):
                answers = self._ask()
        if self._reader is None:
            self._reader = next((reader for reader in READERS if reader.recognises(answers)), None)
        return self._reader.read(answers) if self._reader is not None else _unread(answers)

    def _ask(self) -> Answers:
        paths = self._reader.PATHS if self._reader is not None else _ALL_PATHS
        return asyncio.run(fetch(self._root, paths, self._key, self._timeout_seconds))


def _silent(answers: Answers) -> bool:
    return all(answer.status is None for answer in answers.values())


def _unread(answers: Answers) -> ServerReport:
    """Of answers that no reader knows, or none."""
    statuses = {answer.status for answer in answers.values() if answer.status is not None}
    if not statuses:
        late = any(answer.timed_out for answer in answers.values())
        faults = sorted({answer.fault for answer in answers.values() if answer.timed_out is late})
        return ServerReport(health=Health.DOWN, detail="; ".join(faults))
    if statuses <= _AWAY:
        return ServerReport(health=Health.DOWN, detail=f"every answer is HTTP {min(statuses)}")
    detail = "it answers, but not as llama.cpp, vLLM, Ollama or another OpenAI-compatible server does"
    return ServerReport(health=Health.UNKNOWN, detail=detail)


async def fetch(root: str, paths: Iterable[str], key: str | None, timeout_seconds: float) -> dict[str, Answer]:
    """GET every path at the same time."""
    wanted = list(paths)
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(
        timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        found = await asyncio.gather(*(_get(session, root + path, timeout_seconds) for path in wanted))
    return dict(zip(wanted, found, strict=True))


async def _get(session: aiohttp.ClientSession, url: str, timeout_seconds: float) -> Answer:
    began = time.monotonic()
    try:
        # A redirect would take the key along to wherever it points.
        async with session.get(url, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > _MOST_BYTES:
                    return Answer(None, fault=f"an answer of more than {_MOST_BYTES} bytes")
            server = response.headers.get("Server", "")
            return Answer(response.status, body.decode("utf-8", "replace"), server=server)
    except TimeoutError:
        return Answer(None, fault=f"no answer within {timeout_seconds:g} s", timed_out=True)
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno
        why = os.strerror(number) if number and number > 0 else str(error.os_error)
        return Answer(None, fault=f"cannot connect: {why.lower()}")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        late = time.monotonic() - began >= timeout_seconds
        return Answer(None, fault=f"{error}" or type(error).__name__, timed_out=late)
