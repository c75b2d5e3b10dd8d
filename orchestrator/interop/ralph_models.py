"""The models that ralph's profiles mean, as entries of a fleet file. What nobody told stays marked as unknown."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.interop.findings import Finding
from orchestrator.interop.quoting import quoted
from orchestrator.interop.ralph_profiles import (
    LOCAL_SERVERS,
    REASONING_STAGES,
    RalphModel,
    RalphProfiles,
    Setting,
    ralph_model,
)

# Where these providers answer everybody, and in which of their protocols.
_PROVIDERS = {
    "anthropic": ("https://api.anthropic.com", "messages", "env:ANTHROPIC_API_KEY"),
    "openai": ("https://api.openai.com", "chat", "env:OPENAI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api", "chat", "env:OPENROUTER_API_KEY"),
}
# Nobody answers under `.invalid`, ever (RFC 2606): a run that was not told its server fails at once, and says where.
_NOWHERE = "http://fill-in.invalid"
UNKNOWN = "unknown"
# What ralph takes where neither its file nor a profile says anything.
RALPH_WINDOW = 200_000


@dataclass(frozen=True, kw_only=True)
class Use:
    """Which models a profile uses, by their aliases."""

    reasoning: str
    build: str


@dataclass
class Models:
    """Every model of an experiment, by alias, with what could be found out about it."""

    uses: dict[str, Use] = field(default_factory=dict)
    models: dict[str, RalphModel] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def fleet_text(self) -> str:
        """The fleet file."""
        servers = {_server(model): model for model in self.models.values()}
        lines = ["# Accounts, pools and models of ralph's profiles. It holds no keys, only the names of secrets."]
        for (kind, name), model in sorted(servers.items()):
            lines += ["", f"[{kind}s.{_key(name)}]", *self._server_lines(kind, name, model)]
        for alias, model in self.models.items():
            kind, server = _server(model)
            window = self.windows.get(alias, RALPH_WINDOW)
            lines += [
                "",
                f"[models.{_key(alias)}]",
                f"name = {quoted(model.name)}",
                f"{kind} = {quoted(server)}",
            ]
            lines += [f"context_window = {window}"]
        return "\n".join(lines) + "\n"

    def _server_lines(self, kind: str, name: str, model: RalphModel) -> list[str]:
        url, protocol, key = _PROVIDERS.get(name, (LOCAL_SERVERS.get(model.provider or "") or _NOWHERE, "chat", None))
        if url == _NOWHERE:
            found = f"nothing says where {kind} {name!r} is"
            self.note("server_unknown", f"fleet.toml [{kind}s.{name}]", found, f"{url}: put its address there")
        elif kind == "pool":
            found = f"nothing says where {name} listens"
            self.note("server_assumed", f"fleet.toml [pools.{name}]", found, f"{url}, that program's own default")
        lines = [f"base_url = {quoted(url)}", f"protocol = {quoted(protocol)}"]
        return [*lines, f"key = {quoted(key)}"] if key else lines

    def note(self, kind: str, where: str, found: str, read_as: str) -> None:
        """Something that was unclear."""
        self.findings.append(Finding(kind=kind, where=where, found=found, read_as=read_as))


def find_models(profiles: Sequence[str], known: RalphProfiles, told: bool) -> Models:
    """The models of these profiles. `told` when there is a file of profiles at all."""
    models = Models()
    aliases: dict[RalphModel, str] = {}
    windows: dict[str, dict[str, int]] = {}
    for profile in profiles:
        settings = known.settings(profile)
        if told and profile not in known.names:
            found = f"no table [profiles.{profile}]; ralph runs such a profile with its defaults without a word"
            models.note("profile_unknown", f"profile {profile}", found, "the [default] table")
        use = _use(models, aliases, profile, settings)
        models.uses[profile] = use
        window = settings.get("context_window")
        if window is not None and isinstance(window.value, int) and window.value > 0:
            for alias in {use.reasoning, use.build}:
                pure = use.reasoning == use.build
                windows.setdefault(alias, {})[f"{'' if pure else '~'}{profile}"] = window.value
    _settle_windows(models, windows)
    return models


def _use(models: Models, aliases: dict[RalphModel, str], profile: str, settings: Mapping[str, Setting]) -> Use:
    main = _named(settings, "model")
    if main is None:
        found = "nobody says which models it uses"
        models.note(
            "models_unknown", f"profile {profile}", found, f"one model named {profile!r}, at an unknown place"
        )
        alias = _alias(models, aliases, RalphModel(provider=None, name=profile))
        return Use(reasoning=alias, build=alias)
    reasoning = _alias(models, aliases, main)
    routed = _named(settings, "model_build")
    for stage in REASONING_STAGES:
        other = _named(settings, f"model_{stage}")
        if other is not None and other != main:
            found = f"{stage.upper()} has a model of its own, {other.name}"
            models.note("route_left_out", f"profile {profile}", found, f"{main.name}, like every reasoning stage")
    return Use(reasoning=reasoning, build=_alias(models, aliases, routed) if routed else reasoning)


def _named(settings: Mapping[str, Setting], key: str) -> RalphModel | None:
    value = settings[key].value if key in settings else None
    return ralph_model(value) if isinstance(value, str) and value.strip() else None


def _alias(models: Models, aliases: dict[RalphModel, str], model: RalphModel) -> str:
    if model not in aliases:
        base = re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", model.name.rsplit("/", 1)[-1]).strip("-._")[:60] or "model"
        alias, number = base, 2
        while alias in models.models:
            alias, number = f"{base}-{number}", number + 1
        aliases[model] = alias
        models.models[alias] = model
    return aliases[model]


def _settle_windows(models: Models, windows: Mapping[str, Mapping[str, int]]) -> None:
    """A profile of one model knows its window best: a hybrid has one number for two models."""
    for alias in models.models:
        told = windows.get(alias, {})
        pure = {profile: window for profile, window in told.items() if not profile.startswith("~")}
        candidates = pure or told
        if not candidates:
            found = "nobody says how large its context window is"
            models.note("window_unknown", f"model {alias}", found, f"{RALPH_WINDOW}, ralph's own default")
            continue
        models.windows[alias] = min(candidates.values())
        if len(set(told.values())) > 1:
            shown = ", ".join(f"{profile.lstrip('~')}: {window}" for profile, window in sorted(told.items()))
            read_as = f"{models.windows[alias]}" + (", from the profile that uses it alone" if pure else "")
            models.note("window_contradicts", f"model {alias}", f"several context windows ({shown})", read_as)


def _server(model: RalphModel) -> tuple[str, str]:
    return ("pool" if model.local else "account", re.sub(r"[^A-Za-z0-9_-]", "-", model.provider or UNKNOWN))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)
