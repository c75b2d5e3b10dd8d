"""The scheduler's part of notices: looks for news, and sends what waits, in threads that hold nobody else up."""

import logging
import threading
from collections.abc import Callable

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.delivery import Undelivered, deliver
from orchestrator.domain.errors import StorageError, Unavailable
from orchestrator.scheduling.notices import look
from orchestrator.storage import notices
from orchestrator.storage.engine import Database

log = logging.getLogger("bakeoff.notices")

_LOOK_SECONDS = 1.0
# A look at many experiments rests so many times as long as it took.
_REST = 50.0
# What is news at the end, as when `bakeoff run` ends, gets so long to be sent; what is left is sent by the next run.
_LAST_SECONDS = 8.0


class Postman:
    """One thread that looks, and one per channel that sends: a receiver that hangs delays its own messages alone."""

    def __init__(self, database: Database, leads: Callable[[], bool]) -> None:
        self._database, self._leads = database, leads
        self._senders: dict[str, threading.Thread] = {}
        self._last_error = ""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, and then once more."""
        pause = _LOOK_SECONDS
        while not stop.wait(pause):
            began = boot_seconds()
            self._tried()
            pause = max(_LOOK_SECONDS, _REST * (boot_seconds() - began))
        self._tried()
        deadline = boot_seconds() + _LAST_SECONDS
        for sender in list(self._senders.values()):
            sender.join(max(0.0, deadline - boot_seconds()))

    def _tried(self) -> None:
        try:
            self.once()
        except StorageError as error:
            if str(error) != self._last_error:  # the scheduler's own passes say it every second
                log.warning("notices_failed error=%s", error)
            self._last_error = str(error)

    def once(self) -> None:
        """Look for news and begin to send what is due; nothing while another scheduler leads."""
        if not self._leads():
            return
        if notices.channels(self._database):
            for message in look(self._database, utc_now()):
                log.info("notice_made id=%s kind=%s subject=%s", message.id, message.kind, message.subject)
        for channel in notices.due_channels(self._database, utc_now()):
            known = self._senders.get(channel)
            if known is None or not known.is_alive():
                sender = threading.Thread(target=self._send_all, args=(channel,), name=f"to {channel}", daemon=True)
                self._senders[channel] = sender
                sender.start()

    def _send_all(self, channel: str) -> None:
        try:
            while (parcel := notices.claim(self._database, channel, utc_now())) is not None:
                self._send(parcel)
        except StorageError as error:
            log.warning("notice_not_recorded channel=%s error=%s", channel, error)

    def _send(self, parcel: notices.Parcel) -> None:
        channel = notices.channels(self._database).get(parcel.channel)
        try:
            if channel is None:
                raise Undelivered("the fleet file has no such channel any more")
            deliver(channel, parcel.message)
        except (Undelivered, Unavailable) as error:
            asked = error.retry_after_seconds if isinstance(error, Undelivered) else None
            over = notices.failed(self._database, parcel, str(error), utc_now(), asked)
            slug = "notice_given_up" if over else "notice_not_sent"
            log.warning("%s id=%s channel=%s error=%s", slug, parcel.message.id, parcel.channel, error)
        except StorageError:
            raise
        except Exception as error:
            # A bug of ours. Without an end on record the message would be tried for ever.
            log.exception("notice_crashed id=%s channel=%s", parcel.message.id, parcel.channel)
            notices.failed(self._database, parcel, f"a bug of ours: {type(error).__name__}", utc_now())
        else:
            notices.sent(self._database, parcel, utc_now())
            log.info("notice_sent id=%s channel=%s tries=%d", parcel.message.id, parcel.channel, parcel.tries)
