"""Turns a script's `bash` and `write` into calls of whatever tools the agent offers."""

import json
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from workers.gateway.conversation import Conversation
from workers.gateway.jsonvalues import JsonObject, child, items, text
from workers.gateway.script import Turn, WriteFile

_SHELL_TOOLS = (
    *("bash", "Bash", "shell", "exec_command", "shell_command", "run_shell_command", "local_shell"),
    *("execute_bash", "terminal", "run_command", "execute_command", "container.exec"),
)
_WRITE_TOOLS = ("write", "Write", "write_file", "create_file")
_PATH_NAMES = ("file_path", "filePath", "path", "absolute_path")
_CONTENT_NAMES = ("content", "contents", "text")
# mini-SWE-agent has no other way to end than this command's output.
SUBMIT_MARK = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class ToolCall(NamedTuple):
    """A call: the tool's name and its arguments."""

    name: str
    arguments: Mapping[str, object]

    @property
    def json(self) -> str:
        """The arguments as the protocols carry them."""
        return json.dumps(self.arguments)


def call_of(turn: Turn, number: int, request: Conversation) -> ToolCall | None:
    """The tool call of a turn; None when it only speaks, or when the agent offers no tool for it."""
    if turn.write is not None:
        return _write(turn.write, request.tools)
    if turn.bash is not None:
        return _shell(turn.bash.replace("{{turn}}", str(number + 1)), request.tools)
    if set(request.tools) == {"bash"} and SUBMIT_MARK in request.system + request.first:
        return _shell(f"echo {SUBMIT_MARK} && printf '%s\\n' {shlex.quote(turn.say or '')}", request.tools)
    return None


def _shell(command: str, tools: Mapping[str, JsonObject]) -> ToolCall | None:
    name = next((name for name in _SHELL_TOOLS if name in tools), None)
    if name is None:
        return None
    properties = child(tools[name], "properties")
    field = next((field for field in ("command", "cmd", "script") if field in properties), "command")
    as_list = _type(child(properties, field)) == "array"
    arguments: dict[str, object] = {field: ["bash", "-lc", command] if as_list else command}
    for required in items(tools[name], "required"):
        if isinstance(required, str) and required not in arguments:
            arguments[required] = _filler(child(properties, required))
    return ToolCall(name, arguments)


def _filler(schema: JsonObject) -> object:
    """Something valid for an argument that the tool demands and the script does not know."""
    choices = items(schema, "enum")
    if choices:
        return choices[0]
    fillers: dict[str, object] = {"boolean": False, "number": 120000, "integer": 120000, "array": [], "object": {}}
    return fillers.get(_type(schema), "Run a command")


def _type(schema: JsonObject) -> str:
    """Gemini's own schemas write types in capitals."""
    return (text(schema, "type") or "").lower()


def _write(file: WriteFile, tools: Mapping[str, JsonObject]) -> ToolCall | None:
    name = next((name for name in _WRITE_TOOLS if name in tools), None)
    if name is None or _wants_absolute_path(tools[name]):
        return _shell(_heredoc(file), tools)
    properties = child(tools[name], "properties")
    path = next((field for field in _PATH_NAMES if field in properties), "path")
    content = next((field for field in _CONTENT_NAMES if field in properties), "content")
    return ToolCall(name, {path: file.path, content: file.content})


def _wants_absolute_path(schema: JsonObject) -> bool:
    """The script knows no absolute path: the working directory is the agent's own affair."""
    properties = child(schema, "properties")
    words = " ".join(text(child(properties, field), "description") or "" for field in _PATH_NAMES).lower()
    return "absolute" in words and "relative" not in words


def _heredoc(file: WriteFile) -> str:
    end = "END_OF_FILE"
    while end in file.content:
        end += "_"
    newline = "" if file.content.endswith("\n") or not file.content else "\n"
    path = shlex.quote(file.path)
    return f"mkdir -p \"$(dirname {path})\" && cat > {path} <<'{end}'\n{file.content}{newline}{end}"
