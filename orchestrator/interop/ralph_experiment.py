"""An experiment of ralph's as an experiment file and a fleet file, and what was unclear on the way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from orchestrator.files.tree import Data
from orchestrator.interop.findings import Finding
from orchestrator.interop.quoting import quoted
from orchestrator.interop.ralph_conf import RalphConf
from orchestrator.interop.ralph_models import Models, find_models
from orchestrator.interop.ralph_profiles import RalphProfiles

# A turn of ralph's machine is one task's BUILD with the VERIFY and INVESTIGATE or DECOMPOSE that follow it.
STAGES_PER_ITERATION = 3
# Ralph's setting: our limit, and what one is worth in the other.
_LIMITS = {
    "stage_timeout_ms": ("stage_timeout", 0.001),
    "max_wall_time_s": ("wall_timeout", 1.0),
    "max_failures": ("max_failures", 1.0),
    "max_tokens": ("max_tokens", 1.0),
    "context_warn_pct": ("context_warn_percent", 1.0),
    "context_compact_pct": ("context_compact_percent", 1.0),
    "context_kill_pct": ("context_kill_percent", 1.0),
}
_LOOP = {
    "max_decompose_depth": "max_decompose_depth",
    "max_retries_per_task": "max_rejects",
    "investigate_batch_size": "investigate_batch_size",
    "verify_batch_size": "verify_batch_size",
}
_NO_COUNTERPART = ("max_api_calls", "progress_stall_abort_s")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_NOT_PLAIN = re.compile(r"(?i)true|false|yes|no|on|off|null|[0-9.]+(e[0-9]+)?|0[xob].*")


@dataclass(frozen=True, kw_only=True)
class Files:
    """What an import writes, and its findings."""

    experiment: str
    fleet: str
    findings: tuple[Finding, ...]


def to_files(
    conf: RalphConf, profiles: RalphProfiles, *, name: str, source: str, told: bool, home: str | None, harness: bool
) -> Files:
    """The two files. `told` when profiles were given; `home` is shortened to `~`.

    With `harness` ralph itself runs as one command; otherwise its way of working is that of the loop `tasks`.
    """
    models = find_models(conf.profiles, profiles, told)
    limits = _Limits(conf, profiles, harness=harness)
    lines = [
        f"# Read from {source}; nothing of it was run. Check what the report of the import called unclear.",
        f"experiment: {_text(name)}",
        "fleet: fleet.toml",
        *(_harness(conf) if harness else ["agent: opencode", *_loop(limits.loop)]),
        "targets:",
        *_target(conf, home),
        "profiles:",
        *(f"  {_text(one)}: {_profile(one, models, harness=harness)}" for one in conf.profiles),
        "limits:",
        *(f"  {key}: {_number(value)}" for key, value in limits.values.items()),
    ]
    if not limits.values:
        lines[-1] = "limits: {}"
    fleet = models.fleet_text()
    findings = (*limits.findings, *models.findings)
    return Files(experiment="\n".join(lines) + "\n", fleet=fleet, findings=findings)


def _target(conf: RalphConf, home: str | None) -> list[str]:
    repo = conf.target_repo
    if home and repo.startswith(home.rstrip("/") + "/"):
        repo = "~" + repo[len(home.rstrip("/")) :]
    lines = [f"  - repo: {_text(repo)}"]
    if conf.base_ref:
        lines.append(f"    base: {_text(conf.base_ref)}")
    lines.append(f"    task: {_text(str(PurePath('ralph/specs') / conf.spec))}")
    checks = [f"      build: {_text(conf.build_cmd)}"] if conf.build_cmd else []
    if conf.test_cmd and conf.test_timeout_seconds:
        checks.append(f"      test: {{run: {quoted(conf.test_cmd)}, timeout: {conf.test_timeout_seconds}s}}")
    elif conf.test_cmd:
        checks.append(f"      test: {_text(conf.test_cmd)}")
    checks += [f"      {_text(_label(label))}: {_text(command)}" for label, command in conf.gates.items()]
    return [*lines, *(["    checks:", *checks] if checks else [])]


def _label(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", label).strip("-._")[:64] or "gate"


def _profile(profile: str, models: Models, *, harness: bool) -> str:
    use = models.uses[profile]
    env = f"env: {{RALPH_PROFILE: {quoted(profile)}}}"
    if use.reasoning == use.build:
        return f"{{model: {_text(use.build)}, {env}}}" if harness else _text(use.build)
    both = f"reasoning: {_text(use.reasoning)}, build: {_text(use.build)}"
    return f"{{{both}, {env}}}" if harness else f"{{{both}}}"


def _loop(values: Mapping[str, float]) -> list[str]:
    inside = "".join(f", {key}: {_number(value)}" for key, value in values.items())
    return [f"loop: {{kind: tasks{inside}}}"] if inside else ["loop: tasks"]


def _harness(conf: RalphConf) -> list[str]:
    return [
        "agent: ralph",
        "loop: external",
        "agents:",
        "  ralph:",
        f"    command: [ralph2, construct, {quoted(conf.spec)}]",
        '    env: {RALPH_LOG_DIR: "{logs}/ralph"}',
        "    telemetry:",
        '      iterations: "{logs}/ralph/iterations.jsonl"',
        '      runs: "{logs}/ralph/runs.jsonl"',
    ]


class _Limits:
    """What ralph limits, as limits and loop parameters of ours. The experiment's own go before the profiles'."""

    def __init__(self, conf: RalphConf, profiles: RalphProfiles, *, harness: bool) -> None:
        self.values: dict[str, float] = {}
        self.loop: dict[str, float] = {}
        self.findings: list[Finding] = []
        for key, (limit, factor) in _LIMITS.items():
            if (value := self._common(conf.profiles, profiles, key)) is not None:
                self.values[limit] = value * factor
        for key, parameter in _LOOP.items():
            if (value := self._common(conf.profiles, profiles, key)) is not None:
                self.loop[parameter] = value
        for key in _NO_COUNTERPART:
            if self._common(conf.profiles, profiles, key):
                self._note("no_counterpart", f"profiles: {key}", f"{key} has no counterpart", "left out")
        if conf.max_iterations:
            self.values["max_iterations"] = conf.max_iterations * STAGES_PER_ITERATION
            found = f"{conf.max_iterations} iterations, of up to {STAGES_PER_ITERATION} stages each"
            self._note("iterations_are_stages", "MAX_ITERATIONS", found, f"{self.values['max_iterations']:g} stages")
        if conf.max_wall_seconds:
            self.values["wall_timeout"] = conf.max_wall_seconds
        if conf.max_failures:
            self.values["max_failures"] = conf.max_failures
        if harness:
            self.values.setdefault("stage_timeout", self.values.get("wall_timeout", 7200.0))

    def _common(self, names: Sequence[str], profiles: RalphProfiles, key: str) -> float | None:
        """A setting on which all profiles agree; limits are one for all. 0 is unlimited in ralph."""
        found = {name: _positive(profiles.settings(name).get(key)) for name in names}
        values = {value for value in found.values() if value is not None}
        if len(values) > 1:
            shown = ", ".join(f"{name}: {value:g}" for name, value in found.items() if value is not None)
            self._note("limits_differ", f"profiles: {key}", shown, f"{max(values):g}, for every profile")
        return max(values, default=None)

    def _note(self, kind: str, where: str, found: str, read_as: str) -> None:
        self.findings.append(Finding(kind=kind, where=where, found=found, read_as=read_as))


def _positive(setting: object) -> float | None:
    value: Data = getattr(setting, "value", None)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and not _NOT_PLAIN.fullmatch(value) else quoted(value)


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else str(int(value))
