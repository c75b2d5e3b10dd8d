"""The base of every value that crosses a boundary: files, stored specs, questions to machines."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Model(BaseModel):
    """Unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_name(value: str) -> str:
    """The name as it is. Raises ValueError that says what names look like."""
    if not _NAME.fullmatch(value) or ".." in value or value.endswith((".lock", ".")):
        raise ValueError("1-64 letters, digits, '.', '_' or '-', beginning with a letter or digit")
    return value


def _check_inside(value: str) -> str:
    if not value.strip("./") or value.startswith(("/", "-", "~")) or ".." in value.split("/"):
        raise ValueError("a path inside the repository, without '..'")
    return value


def check_secret_name(value: str) -> str:
    """The reference as it is. Raises ValueError for anything that may be the secret itself."""
    kind, _, name = value.partition(":")
    if kind not in ("env", "file") or not name.strip():
        raise ValueError("a secret by name: 'env:VARIABLE' or 'file:PATH', never the key itself")
    return value


def check_url(value: str) -> str:
    """The URL without a slash at its end. Raises ValueError for other schemes, and for one with a login."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("a URL beginning with http:// or https://")
    if "@" in value.split("/", 3)[2]:
        raise ValueError("a URL without user or password; name the secret in 'key'")
    if not value.split("/", 3)[2]:
        raise ValueError("a URL with a host")
    return value.rstrip("/")


Name = Annotated[str, AfterValidator(check_name)]
SecretName = Annotated[str, AfterValidator(check_secret_name)]
Url = Annotated[str, AfterValidator(check_url)]
InsidePath = Annotated[str, AfterValidator(_check_inside)]
Text = Annotated[str, Field(min_length=1)]
