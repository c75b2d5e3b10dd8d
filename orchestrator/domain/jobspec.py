"""What a worker needs to know to run one job: a self-contained value, stored with the job as JSON.

It names secrets, and never contains one.
"""

from collections.abc import Mapping

from pydantic import Field

from orchestrator.domain.base import Model
from orchestrator.domain.check import PinnedCheck
from orchestrator.domain.experiment import CommandAgent
from orchestrator.domain.fleet import LeasePolicy, ModelPrices, Protocol
from orchestrator.domain.limits import Limits
from orchestrator.domain.tampering import TamperPolicy


class ModelSpec(Model):
    """A model, and where and under which secret it is served."""

    alias: str
    name: str
    served_names: tuple[str, ...] = ()
    resource: str
    base_url: str
    protocol: Protocol
    key: str | None
    lease: LeasePolicy = "attempt"
    context_window: int
    max_output: int
    prices: ModelPrices | None = None


class TargetSpec(Model):
    """A target, pinned. `task_text` is the task as it stood at the base."""

    label: str
    source: str
    base: str
    sha: str
    task_text: str
    setup: str | None = None
    checks: Mapping[str, PinnedCheck] = Field(default_factory=dict)
    protected: tuple[str, ...] = ()
    tampering: TamperPolicy = TamperPolicy.REPORT
    plan: tuple[str, ...] = Field(
        (), description="The tasks of the loop `tasks`; empty: each run makes its own plan."
    )

    @property
    def visible_checks(self) -> Mapping[str, PinnedCheck]:
        """The checks that may steer a run; what is hidden only judges it."""
        return {name: check for name, check in self.checks.items() if not check.hidden}


class JobSpec(Model):
    """One cell of the matrix, repeat apart."""

    experiment: str
    target: TargetSpec
    profile: str
    agent: str
    agent_version: str | None
    command: CommandAgent | None = None
    env: Mapping[str, str] = Field(default_factory=dict)
    prompts: Mapping[str, str] = Field(default_factory=dict, description="The user's own templates, by stage.")
    models: Mapping[str, ModelSpec] = Field(description="By role: reasoning, build.")
    loop: str
    max_builds: int
    max_decompose_depth: int = 3
    max_rejects: int = 2
    max_check_repairs: int = 2
    investigate_batch_size: int = 5
    verify_batch_size: int = 5
    limits: Limits
    params: Mapping[str, float | int | str] = Field(default_factory=dict, description="Swept values of this cell.")

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles whose models the loop asks."""
        return roles_of(self.loop)

    @property
    def agent_kind(self) -> str:
        """Agent, loop and models: what makes runs alike in time and tokens, whatever their limits and versions."""
        return agent_kind(self.agent, self.loop, {role: model.name for role, model in self.models.items()})

    def needs(self) -> tuple[str, ...]:
        """The resources of which an attempt takes one slot each when it begins, sorted.

        These are what its first stage uses, and whatever is held for whole attempts. A resource that is held per
        stage is taken when its stage comes; nothing that is held per stage is kept while waiting for another, so
        attempts cannot block each other. A `single` loop uses the build model only; of an `external` one nobody
        knows which model it asks when, so it holds all that it may use.
        """
        if self.loop == "external":
            return tuple(sorted({model.resource for model in self.models.values()}))
        first = self.models[self.roles[0]].resource
        used = (self.models[role] for role in self.roles)
        return tuple(sorted({first, *(model.resource for model in used if model.lease == "attempt")}))


def roles_of(loop: str) -> tuple[str, ...]:
    """The roles whose models a loop asks."""
    return ("build",) if loop == "single" else ("reasoning", "build")


def agent_kind(agent: str, loop: str, models: Mapping[str, str]) -> str:
    """As `JobSpec.agent_kind`, from the names of the models by role."""
    return f"{agent} ({loop}) with {' and '.join(dict.fromkeys(models[role] for role in roles_of(loop)))}"
