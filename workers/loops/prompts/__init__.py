"""The prompts of the loops, as files beside this one. Their hash is part of a profile's identity."""

import hashlib
from functools import cache
from pathlib import Path
from string import Template

from orchestrator.domain.jobspec import JobSpec

_HERE = Path(__file__).parent


@cache
def _template(name: str) -> Template:
    return Template((_HERE / f"{name}.md").read_text(encoding="utf-8"))


def render(name: str, **values: str) -> str:
    """The prompt `name` with its values; a text that contains a `$` is put in as it is."""
    return _template(name).substitute(values)


def stage_prompt(spec: JobSpec, stage: str, **values: str) -> str:
    """The prompt of a stage of the job's loop: the user's own template, or the built-in one."""
    own = spec.prompts.get(stage)
    if own is not None:
        return Template(own).substitute(values)
    return render(f"tasks-{stage}" if spec.loop == "tasks" else stage, **values)


def prompts_hash() -> str:
    """SHA-256 over every prompt file, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(_HERE.glob("*.md")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
