"""Ralph's profiles: its TOML file with its layers, and which models a profile means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.files.toml_tree import parse_toml
from orchestrator.files.tree import Data, Tree
from orchestrator.files.words import mapping

# What a local server's name in a model means, and where such a program listens unless told otherwise.
LOCAL_SERVERS = {
    "llamacpp": "http://127.0.0.1:8080",
    "llama.cpp": "http://127.0.0.1:8080",
    "vllm": "http://127.0.0.1:8000",
    "ollama": "http://127.0.0.1:11434",
    "lmstudio": "http://127.0.0.1:1234",
    "local": None,
}
_MODEL = re.compile(r"(?:([A-Za-z0-9._-]+)[/:])?(.+)", re.DOTALL)
# Ralph's stages that judge and plan; BUILD alone is routed apart from them here.
REASONING_STAGES = ("plan", "investigate", "verify", "decompose")


@dataclass(frozen=True, kw_only=True)
class RalphModel:
    """A model as ralph names it: `anthropic/claude-opus-4-6`, `vllm:devstral`. Some have no `provider`."""

    provider: str | None
    name: str

    @property
    def local(self) -> bool:
        """Whether a server of one's own serves it, whatever a ledger says."""
        return self.provider in LOCAL_SERVERS


def ralph_model(text: str) -> RalphModel:
    """Take ralph's name of a model apart."""
    found = _MODEL.fullmatch(text)
    provider, name = (found[1], found[2]) if found else (None, text)
    return RalphModel(provider=provider.lower() if provider else None, name=name)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value, and the layer that gave it: `[default]`, `[profiles.NAME]` or `override`."""

    value: Data
    layer: str


class RalphProfiles:
    """The layers: the file's `[default]`, under a profile's own table, under what a run is given on top."""

    def __init__(self, default: Mapping[str, Data], profiles: Mapping[str, Mapping[str, Data]]) -> None:
        self._default, self._profiles = default, profiles

    @property
    def names(self) -> tuple[str, ...]:
        """The profiles that have a table of their own."""
        return tuple(self._profiles)

    def settings(self, profile: str, overrides: Mapping[str, Data] | None = None) -> dict[str, Setting]:
        """What holds in a profile. One without a table has the defaults, as in ralph."""
        found = {key: Setting(value=value, layer="[default]") for key, value in self._default.items()}
        for key, value in self._profiles.get(profile, {}).items():
            found[key] = Setting(value=value, layer=f"[profiles.{profile}]")
        for key, value in (overrides or {}).items():
            found[key] = Setting(value=value, layer="override")
        return found


NO_PROFILES = RalphProfiles({}, {})


def read_profiles(text: str, file: str) -> RalphProfiles:
    """Read ralph's `config.toml`. Raises InvalidInput with every fault."""
    tree = Tree(file)
    parse_toml(text, tree)
    for key in ("default", "profiles"):
        if key in mapping(tree.data) and not isinstance(tree.get(key), Mapping):
            tree.fault((key,), "is not a table", accepted=f"[{key}]" if key == "default" else "[profiles.NAME]")
    for name, table in mapping(tree.get("profiles")).items():
        if not isinstance(table, Mapping):
            tree.fault(("profiles", name), "is not a table", accepted=f"[profiles.{name}]")
    if not tree.faults and mapping(tree.data) and not {"default", "profiles"} & set(mapping(tree.data)):
        tree.faults.append(
            Fault(file=file, field="", message="has no profiles", accepted="[default], [profiles.NAME]")
        )
    if tree.faults:
        raise InvalidInput(tree.faults)
    tables = {name: mapping(table) for name, table in mapping(tree.get("profiles")).items()}
    return RalphProfiles(mapping(tree.get("default")), tables)
