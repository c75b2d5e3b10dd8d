"""Ralph's `experiment.conf`: the settings that its scripts would have had after sourcing it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.interop.findings import Finding
from orchestrator.interop.shell import Assigned, Value, read_assignments

_PATHS = ("WORKTREE_BASE", "RALPH_LOG_DIR", "RESULTS_DIR")
_REQUIRED = ("TARGET_REPO", "SPEC", "PROFILES")
_COUNTS = ("MAX_ITERATIONS", "MAX_WALL_TIME", "MAX_FAILURES", "TEST_TIMEOUT")
_KNOWN = (*_REQUIRED, "BASE_REF", *_COUNTS, *_PATHS, "BUILD_CMD", "TEST_CMD", "GATE_CHECKS")
# A search that finds nothing and one that cannot look at all end alike here.
_BLIND = re.compile(r"grep\b.*&&\s*exit 1\s*\|\|\s*exit 0\s*$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class RalphConf:
    """An experiment of ralph's. None where the file says nothing; seconds for times."""

    target_repo: str
    base_ref: str | None
    spec: str
    profiles: tuple[str, ...]
    max_iterations: int | None = None
    max_wall_seconds: int | None = None
    max_failures: int | None = None
    build_cmd: str | None = None
    test_cmd: str | None = None
    test_timeout_seconds: int | None = None
    gates: Mapping[str, str] = field(default_factory=dict)
    log_dir: str | None = None


def read_conf(
    text: str, file: str, environment: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[RalphConf, list[Finding]]:
    """Read a file without running any of it; `overrides` by key go before what it says.

    Raises InvalidInput with every fault.
    """
    assigned = read_assignments(text, file, environment)
    assigned |= {key: Assigned(value=value, line=0) for key, value in overrides.items()}
    reader = _Conf(assigned, file)
    conf = reader.conf()
    if reader.faults:
        raise InvalidInput(reader.faults)
    assert conf is not None  # no faults
    return conf, reader.findings


class _Conf:
    def __init__(self, assigned: Mapping[str, Assigned], file: str) -> None:
        self.faults: list[Fault] = []
        self.findings: list[Finding] = []
        self._assigned, self._file = assigned, file

    def conf(self) -> RalphConf | None:
        for key in _REQUIRED:
            if not self._assigned.get(key):
                self._fault(key, "is not there", f'{key}="..."')
        for key in [key for key in self._assigned if key not in _KNOWN]:
            self._note("unknown_key", key, f"{key} is no setting of ralph's experiments", "left out")
        for key in ("WORKTREE_BASE", "RESULTS_DIR"):
            if self._text(key):
                self._note(
                    "path_not_used", key, f"{key}={self._text(key)}", "left out: attempts have folders of their own"
                )
        profiles = self._profiles()
        base, spec = self._text("BASE_REF"), self._text("SPEC")
        if base is None:
            self._note("base_missing", "BASE_REF", "no BASE_REF", "the repository's HEAD at submit")
        made = {
            "target_repo": self._text("TARGET_REPO") or "",
            "base_ref": base,
            "spec": spec or "",
            "profiles": profiles,
            "max_iterations": self._count("MAX_ITERATIONS"),
            "max_wall_seconds": self._count("MAX_WALL_TIME"),
            "max_failures": self._count("MAX_FAILURES"),
            "build_cmd": self._text("BUILD_CMD"),
            "test_cmd": self._text("TEST_CMD"),
            "test_timeout_seconds": self._count("TEST_TIMEOUT"),
            "gates": self._gates(),
            "log_dir": self._text("RALPH_LOG_DIR"),
        }
        return None if self.faults else RalphConf(**made)  # type: ignore[arg-type]

    def _profiles(self) -> tuple[str, ...]:
        value = self._value("PROFILES")
        names = tuple(value.split()) if isinstance(value, str) else tuple(value) if value else ()
        if value is not None and not names:
            self._fault("PROFILES", "names no profile", 'PROFILES="one two"')
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            self._note(
                "profile_twice", "PROFILES", f"named twice: {', '.join(twice)}", "once; 'repeats' runs it again"
            )
        return tuple(dict.fromkeys(names))

    def _gates(self) -> dict[str, str]:
        """`label|command`, one per line or element. Only the first bar separates: commands have bars of their own."""
        value = self._value("GATE_CHECKS")
        lines = value.splitlines() if isinstance(value, str) else list(value or ())
        gates: dict[str, str] = {}
        for line in lines:
            if not line.strip():
                continue
            label, bar, command = (part.strip() for part in line.partition("|"))
            if not (bar and label and command):
                self._fault("GATE_CHECKS", "is no 'label|command'", "label|command", line)
                continue
            if label in gates:
                self._fault("GATE_CHECKS", "names two checks alike", "a label for each", label)
            gates[label] = command
            if _BLIND.search(command):
                found = f"{label}: passes too when grep itself fails, for example without one of the folders"
                self._note("gate_blind", "GATE_CHECKS", found, "the command as it is")
        return gates

    def _value(self, key: str) -> Value | None:
        return self._assigned[key].value if key in self._assigned else None

    def _text(self, key: str) -> str | None:
        value = self._value(key)
        if value is not None and not isinstance(value, str):
            self._fault(key, "is a list", f'{key}="one value"')
            return None
        return value or None

    def _count(self, key: str) -> int | None:
        text = self._text(key)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text):
            self._fault(key, "is no whole number", f"{key}=25", text)
            return None
        if int(text) == 0:
            self._note("zero_limit", key, f"{key}=0", "no limit of its own; the default")
        return int(text) or None

    def _note(self, kind: str, key: str, found: str, read_as: str) -> None:
        self.findings.append(Finding(kind=kind, where=self._place(key), found=found, read_as=read_as))

    def _place(self, key: str) -> str:
        line = self._assigned[key].line if key in self._assigned else 0
        return f"{self._file}:{line}" if line else self._file

    def _fault(self, key: str, message: str, accepted: str, found: str | None = None) -> None:
        line = self._assigned[key].line if key in self._assigned else 0
        self.faults.append(
            Fault(file=self._file, field=key, message=message, line=line or None, found=found, accepted=accepted)
        )
