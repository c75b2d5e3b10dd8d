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


Name = Annotated[str, AfterValidator(check_name)]
InsidePath = Annotated[str, AfterValidator(_check_inside)]
Text = Annotated[str, Field(min_length=1)]
