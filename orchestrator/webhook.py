"""Posting a notice to a webhook, in the form that its receiver understands."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from orchestrator.delivery import Undelivered, in_words
from orchestrator.domain.channels import Channel, Format, is_secret_name
from orchestrator.settings import read_secret
from orchestrator.storage.notices import Message

# What a receiver has for its whole answer.
TIMEOUT_SECONDS = 10.0
# Of the `json` form; raised when a field changes its meaning or goes, not when one is added.
VERSION = 1
# Discord refuses longer ones; the others cut or refuse far later.
_MOST_CHARACTERS = 1900


class Post(NamedTuple):
    """A request before it is signed. `path` is put behind the channel's own."""

    content_type: str
    body: bytes
    method: str = "POST"
    path: str = ""


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def _plain_json(message: Message, link: str | None) -> Post:
    document = {
        "version": VERSION,
        "id": message.id,
        "kind": message.kind.value,
        "subject": message.subject,
        "at": message.at.isoformat(),
        "title": message.title,
        "text": message.text,
        "next_step": message.next_step,
        "times": message.times,
        "link": link,
    }
    return Post("application/json", _json(document))


def _slack(message: Message, link: str | None) -> Post:
    text = in_words(message, link)[:_MOST_CHARACTERS]
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, written)
    return Post("application/json", _json({"text": text}))


def _discord(message: Message, link: str | None) -> Post:
    # Words of an agent or a provider must not call everybody.
    document = {"content": in_words(message, link)[:_MOST_CHARACTERS], "allowed_mentions": {"parse": []}}
    return Post("application/json", _json(document))


def _ntfy(message: Message, link: str | None) -> Post:
    return Post("text/plain; charset=utf-8", in_words(message, link)[:_MOST_CHARACTERS].encode("utf-8", "replace"))


def _matrix(message: Message, link: str | None) -> Post:
    # The id as the transaction's: the server itself drops a repetition.
    document = {"msgtype": "m.text", "body": in_words(message, link)}
    return Post("application/json", _json(document), method="PUT", path="/" + quote(message.id, safe=""))


_FORMS: Mapping[Format, Callable[[Message, str | None], Post]] = {
    "json": _plain_json,
    "slack": _slack,
    "discord": _discord,
    "ntfy": _ntfy,
    "matrix": _matrix,
}


def signature(secret: str, body: bytes) -> str:
    """What `X-Bakeoff-Signature` says of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(channel: Channel, message: Message, link: str | None) -> None:
    """Send it. Raises Undelivered, which names neither the address nor a secret, and Unavailable."""
    assert channel.url is not None  # asked by the caller
    made = _FORMS[channel.format](message, link)
    url = read_secret(channel.url) if is_secret_name(channel.url) else channel.url
    headers = {
        "Content-Type": made.content_type,
        "User-Agent": "bakeoff",
        "X-Bakeoff-Kind": message.kind.value,
        "X-Bakeoff-Id": message.id,
        "Idempotency-Key": message.id,
    }
    if channel.token:
        headers["Authorization"] = f"Bearer {read_secret(channel.token)}"
    if channel.secret:
        headers["X-Bakeoff-Signature"] = signature(read_secret(channel.secret), made.body)
    asyncio.run(_send(url + made.path, made, headers))


async def _send(url: str, made: Post, headers: Mapping[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        # Neither redirects nor proxies of the environment: what is sent goes where the fleet file says.
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(made.method, url, data=made.body, headers=headers, allow_redirects=False) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise Undelivered(
                    f"the receiver answers {answer.status}", _seconds(answer.headers.get("Retry-After"))
                )
    except TimeoutError:
        raise Undelivered(f"no answer within {TIMEOUT_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Their texts hold the address.
        raise Undelivered(f"cannot be reached ({type(error).__name__})") from None


def _seconds(header: str | None) -> float | None:
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else None
