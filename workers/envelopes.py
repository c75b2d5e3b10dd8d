"""A Redis list takes anything from anybody: what is no message at all is dropped here, before kombu reads it.

kombu's Redis transport trusts every entry to be an envelope of its own making, and one that is not ends the whole
worker (celery#1113; celery/kombu#2421 asks for a hook). RabbitMQ keeps envelopes apart by itself.
"""

import base64
import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as transport
from redis.exceptions import RedisError

log = logging.getLogger("bakeoff.worker")

# By these an envelope is taken apart; anything else, and its absence, is as kombu likes.
_TEXTS = ("content-type", "content-encoding")
_REPLIES = ".pidbox"  # remote control, as Flower uses it: no tasks, so they have no headers of one


def envelope_fault(message: object, queue: str) -> str | None:
    """What is wrong with a decoded entry of `queue`; None when kombu and Celery can take it apart."""
    if not isinstance(message, dict) or not isinstance(properties := message.get("properties"), dict):
        return "envelope"
    if not isinstance(properties.get("delivery_tag"), str) or not isinstance(properties.get("delivery_info"), dict):
        return "envelope"
    if not _readable(message.get("body"), properties.get("body_encoding")):
        return "body"
    headers = message.get("headers")
    if not isinstance(headers, dict) or "compression" in headers:
        return "headers"
    if not all(isinstance(message.get(name, ""), str) for name in _TEXTS):
        return "content"
    named = all(isinstance(headers.get(name), str) for name in ("task", "id"))
    return None if named or queue.endswith(_REPLIES) else "task"


def _readable(body: object, encoding: object) -> bool:
    if not isinstance(body, str) or encoding not in (None, "base64", "utf-8"):
        return False
    try:
        return encoding != "base64" or bool(base64.b64decode(body))
    except ValueError:
        return False


class Channel(transport.Channel):
    """Reads over entries that are no JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        reading: Any = self.connection  # the transport below
        reading.decoded = False
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # not in kombu's stubs
        except (RedisError, OSError, Empty):
            raise
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            if reading.decoded:
                raise  # a fault of ours, behind the decoding
            log.warning("message_dropped reason=malformed fault=%s", type(error).__name__)
            return True


class Transport(transport.Transport):
    """Reads over entries that are JSON, and no envelope."""

    Channel = Channel
    decoded = False  # whether the entry that is being read was JSON

    def _deliver(self, message: Any, queue: str | None) -> None:
        self.decoded = True
        fault = envelope_fault(message, queue or "")
        if fault is None:
            super()._deliver(message, queue)
        else:
            log.warning("message_dropped reason=malformed fault=%s", fault)


def guard_envelopes() -> None:
    """Let this process read its Redis queues with this care. Before the first connection; idempotent."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
