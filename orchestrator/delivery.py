"""Bringing one notice to one channel, and what it says there."""

from orchestrator.domain.channels import Channel
from orchestrator.domain.errors import BakeoffError
from orchestrator.storage.notices import Message


class Undelivered(BakeoffError):
    """A receiver did not take a message. Its text names neither the address nor a secret."""

    def __init__(self, text: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


def in_words(message: Message, link: str | None) -> str:
    """A message as plain text: what, where, what to do next."""
    lines = [f"Bakeoff: {message.title}", message.text, message.next_step, link]
    return "\n".join(line for line in lines if line)


def deliver(channel: Channel, message: Message) -> None:
    """Send it now. Raises Undelivered, and Unavailable for a secret that is not there."""
    kind, _, name = message.subject.partition(":")
    link = channel.link_for(name if kind == "experiment" else None)
    if channel.url is not None:
        from orchestrator.webhook import post

        post(channel, message, link)
    else:
        from orchestrator.mail import send

        send(channel, message, link)
