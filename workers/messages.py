"""What stands before Celery's own handling of a message: one that is not of the scheduler's making is dropped here.

Celery trusts the shape of a body that decodes; one that is no [args, kwargs, embed] would end the whole worker.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.strategy import default

log = logging.getLogger("bakeoff.worker")

Handler = Callable[..., None]


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Handler:
    """Celery's default strategy behind a check. Named by the task, as `Strategy`."""
    accept = default(task, app, consumer, **options)

    def handle(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> None:
        fault = fault_of(message)
        if fault is None:
            accept(message, body, ack, reject, callbacks, **more)
            return
        log.warning("message_dropped reason=malformed fault=%s", fault)
        message.ack_log_error(log, (OSError,))

    return handle


def fault_of(message: Any) -> str | None:
    """What is wrong with a message; None when Celery can take it."""
    try:
        payload = message.decode()
    except Exception as error:  # noqa: BLE001 - every decoder raises what it likes about what a stranger wrote
        return type(error).__name__
    match payload:
        case [list(), dict(), dict()]:
            return None
    return "body"
