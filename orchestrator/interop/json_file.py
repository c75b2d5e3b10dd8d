"""Small JSON files of other programs: one object, and every key that is given twice."""

import json
from pathlib import Path

from orchestrator.interop.input_file import MIB, read_file, refused
from orchestrator.interop.tally import Tally

_LIMIT_BYTES = 16 * MIB


def read_object(path: Path, tally: Tally) -> dict[str, object]:
    """The object in a file. Keys that come twice are noted and have their last value.

    Raises NotFound, and InvalidInput with the line for what is no JSON; NaN and Infinity are none.
    """

    def pairs(given: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(given)
        if len(made) < len(given):
            twice = sorted({key for key, _ in given if sum(key == other for other, _ in given) > 1})
            found = f"{{rows}} objects have a key twice: {', '.join(twice)[:80]}"
            tally.note("key_twice", path.name, found, "the last, as most readers of JSON do")
        return made

    def constant(word: str) -> float:
        raise refused(path, f"is no JSON: {word} is no number of it")

    try:
        found: object = json.loads(read_file(path, _LIMIT_BYTES), object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise refused(path, f"is no JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise refused(path, "is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise refused(path, f"is no JSON that can be read: {str(error).split(';')[0]}") from None
    if not isinstance(found, dict):
        raise refused(path, "is no JSON object")
    return found


def items(value: object) -> list[object]:
    """The list, or none."""
    return value if isinstance(value, list) else []
