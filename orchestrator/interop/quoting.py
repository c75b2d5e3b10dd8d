"""Text in double quotes, as YAML and TOML both read it back."""

import json


def quoted(text: str) -> str:
    """The text in quotes. What looks like a line break or like nothing at all is written as an escape."""
    return "".join(_escaped(char) for char in json.dumps(text, ensure_ascii=False))


def _escaped(char: str) -> str:
    return char if char.isprintable() else f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
