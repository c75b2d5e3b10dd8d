"""Where notices go: a webhook or a mailbox, as the fleet file names it. Secrets stand there by name only."""

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from orchestrator.domain.base import Model, SecretName, Url, check_secret_name, check_url

Format = Literal["json", "slack", "discord", "ntfy", "matrix"]
# The kinds of `notices.CHOOSABLE`.
Event = Literal["experiment_ended", "experiment_waiting", "breaker_open", "machine_full", "machine_lost"]
Encryption = Literal["starttls", "tls", "none"]
_PORTS: dict[Encryption, int] = {"starttls": 587, "tls": 465, "none": 25}
# The address of such a hook is all that one needs to write there.
_SECRET_ADDRESS = ("slack", "discord")
_PLACE = "{experiment}"


def is_secret_name(value: str) -> bool:
    """Whether this names a secret instead of being a value."""
    return value.startswith(("env:", "file:"))


def _check_target(value: str) -> str:
    return check_secret_name(value) if is_secret_name(value) else check_url(value)


def _check_server(value: str) -> str:
    host, colon, port = value.partition(":")
    if not host or any(c.isspace() or c in "/@" for c in host) or (colon and not 0 < _number(port) < 2**16):
        raise ValueError("HOST or HOST:PORT")
    return value


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _check_address(value: str) -> str:
    # Whatever else an address may be: a line break in it would add headers.
    if not value.isascii() or not value.isprintable() or not 0 < value.find("@") < len(value) - 1:
        raise ValueError("a mail address like me@example.com")
    if any(c in value for c in ' ,;<>"'):
        raise ValueError("one bare mail address")
    return value


Address = Annotated[str, AfterValidator(_check_address)]


class Channel(Model):
    """A webhook (`url`) or a mailbox (`smtp`)."""

    url: Annotated[str, AfterValidator(_check_target)] | None = Field(
        None, description="Where to post; for slack and discord a secret by name: env:VARIABLE or file:PATH."
    )
    format: Format = Field("json", description="What the receiver understands.")
    token: SecretName | None = Field(None, description="Sent as 'Authorization: Bearer', by name.")
    secret: SecretName | None = Field(None, description="Signs what is posted (HMAC-SHA256), by name.")
    smtp: Annotated[str, AfterValidator(_check_server)] | None = Field(None, description="HOST or HOST:PORT.")
    encryption: Encryption = "starttls"
    user: str | None = Field(None, min_length=1)
    password: SecretName | None = Field(None, description="Of `user`, by name.")
    sender: Address | None = Field(None, description="From whom mails come.")
    to: tuple[Address, ...] = Field((), description="To whom mails go.")
    events: tuple[Event, ...] = Field(get_args(Event), min_length=1, description="What is told; default: all.")
    link: Url | None = Field(None, description="Put under each message; {experiment} in it stands for the name.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.url is None) == (self.smtp is None):
            raise ValueError("needs exactly one of 'url' (a webhook) and 'smtp' (mail)")
        given = self.model_fields_set
        other = given & (_MAIL if self.url is not None else _HOOK)
        if other:
            raise ValueError(f"{', '.join(sorted(other))}: only with {'smtp' if self.url is not None else 'url'!r}")
        if self.url is not None and self.format in _SECRET_ADDRESS and not is_secret_name(self.url):
            raise ValueError(f"the url of a {self.format} hook is a secret: name it, env:VARIABLE or file:PATH")
        if self.smtp is not None and not (self.sender and self.to):
            raise ValueError("mail needs 'sender' and 'to'")
        if (self.user is None) != (self.password is None):
            raise ValueError("'user' and 'password' go together")
        if self.user is not None and self.encryption == "none":
            raise ValueError("no password goes over a connection without encryption")
        return self

    @property
    def server(self) -> tuple[str, int]:
        """Host and port of the mail server."""
        host, _, port = (self.smtp or "").partition(":")
        return host, int(port) if port else _PORTS[self.encryption]

    def link_for(self, experiment: str | None) -> str | None:
        """The link under a message about this experiment; None where there is none, or it needs one."""
        if self.link is None or (experiment is None and _PLACE in self.link):
            return None
        return self.link.replace(_PLACE, experiment or "")


_MAIL = {"smtp", "encryption", "user", "password", "sender", "to"}
_HOOK = {"url", "format", "token", "secret"}
