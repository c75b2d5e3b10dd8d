"""Sending a notice as mail."""

import logging
import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP

from orchestrator.delivery import Undelivered, in_words
from orchestrator.domain.channels import Channel
from orchestrator.settings import read_secret
from orchestrator.storage.notices import Message

log = logging.getLogger("bakeoff.notices")

# For each answer of the server.
_TIMEOUT_SECONDS = 15.0
_SUBJECT_LENGTH = 150


def send(channel: Channel, message: Message, link: str | None) -> None:
    """Hand it to the mail server. Raises Undelivered, which names no password, and Unavailable."""
    password = read_secret(channel.password) if channel.password else None
    try:
        with _connected(channel) as server:
            if channel.user and password is not None:
                server.login(channel.user, password)
            # Those who were not refused have it: trying again would tell them twice.
            refused = server.send_message(_mail(channel, message, link), channel.sender, channel.to)
    except smtplib.SMTPAuthenticationError as error:
        raise Undelivered(f"the mail server refuses the login of {channel.user} ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"the mail server answers {error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused:
        raise Undelivered("the mail server refuses every receiver") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise Undelivered(f"the mail server cannot be used ({type(error).__name__}: {error})") from None
    for address in sorted(refused):
        log.warning("mail_partly_refused id=%s address=%s", message.id, address)


def _connected(channel: Channel) -> smtplib.SMTP:
    host, port = channel.server
    # By Python's own trust store; a file of one's own is named by SSL_CERT_FILE.
    context = ssl.create_default_context()
    if channel.encryption == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
    if channel.encryption == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            with suppress(OSError):
                server.close()
            raise
    return server


def _mail(channel: Channel, message: Message, link: str | None) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = " ".join(f"Bakeoff: {message.title}".split())[:_SUBJECT_LENGTH]
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Date"] = message.at
    # The same for every try, so that mail programs show a repetition once.
    mail["Message-ID"] = f"<{message.id}@bakeoff.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Bakeoff-Kind"] = message.kind.value
    mail["X-Bakeoff-Id"] = message.id
    mail.set_content(in_words(message, link).encode("utf-8", "replace").decode())
    return mail
