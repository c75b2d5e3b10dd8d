"""The fleet file as values: accounts, pools, models, prices. Reading it from TOML is `orchestrator.files`' part."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from orchestrator.domain.base import Model, Name, SecretName, Url
from orchestrator.domain.channels import Channel
from orchestrator.domain.durations import Seconds
from orchestrator.domain.usage import Prices
from orchestrator.domain.window import WHOLE, Kind, WindowSpec
from orchestrator.domain.zones import DEFAULT_BEHAVIOUR, Behaviour, Zone

Protocol = Literal["chat", "messages", "responses", "gemini"]


def _check_date(value: object) -> object:
    # TOML has dates of its own, so a user may leave the quotes out.
    text = value.isoformat() if type(value) is date else value
    try:
        valid = isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("a date like 2026-07-01")
    return text


IsoDate = Annotated[str, BeforeValidator(_check_date, json_schema_input_type=str)]


class ModelPrices(Model):
    """US dollars per million tokens, and the date from which they hold. Absent = unknown, never 0."""

    dated: IsoDate = Field(description="Date like 2026-07-01.")
    input: float | None = Field(None, ge=0, strict=True, allow_inf_nan=False)
    output: float | None = Field(None, ge=0, strict=True, allow_inf_nan=False)
    cache_read: float | None = Field(None, ge=0, strict=True, allow_inf_nan=False)
    cache_write: float | None = Field(None, ge=0, strict=True, allow_inf_nan=False)

    def to_prices(self) -> Prices:
        """As the value that `usage.cost_usd_micros` takes."""
        return Prices(**self.model_dump())


class PriceTable(Model):
    """List prices by the models' own names, as providers know them: what past runs are priced with again."""

    models: dict[str, ModelPrices] = Field(min_length=1)


LeasePolicy = Literal["attempt", "stage"]


class Window(Model):
    """A quota window of an account. Without a limit, only what the provider states counts."""

    name: Name = Field(description="The provider's short name, such as 5h or 7d; or one of your own.")
    length: Seconds
    kind: Kind = Field("fixed", description="Empties at once at its reset, or forgets each use after its length.")
    tokens: int | None = Field(None, gt=0, lt=2**53, strict=True, description="Limit in tokens of all kinds.")
    requests: int | None = Field(None, gt=0, lt=2**53, strict=True, description="Limit in model requests.")
    hours: float | None = Field(
        None, gt=0, le=1e6, strict=True, allow_inf_nan=False, description="Limit in hours of models answering."
    )
    model: Name | None = Field(None, description="Only this model of the account, by its name in this file.")
    reserve: float = Field(
        0.0, ge=0, le=0.95, strict=True, allow_inf_nan=False, description="Share kept for people, 0 to 0.95."
    )

    def to_spec(self) -> WindowSpec:
        """As the value that `window.standing` takes."""
        return WindowSpec(
            name=self.name,
            length_seconds=self.length,
            kind=self.kind,
            tokens=self.tokens,
            requests=self.requests,
            hours=self.hours,
            model=self.model,
            reserve_ppm=round(self.reserve * WHOLE),
        )


class Zones(Model):
    """What an account does when a window is fuller than 70, 85 and 95 % of what is not kept for people."""

    yellow: Behaviour = DEFAULT_BEHAVIOUR[Zone.YELLOW]
    orange: Behaviour = DEFAULT_BEHAVIOUR[Zone.ORANGE]
    red: Behaviour = DEFAULT_BEHAVIOUR[Zone.RED]

    def behaviour(self) -> dict[Zone, Behaviour]:
        """By zone."""
        return {Zone.GREEN: "run", Zone.YELLOW: self.yellow, Zone.ORANGE: self.orange, Zone.RED: self.red}


class Account(Model):
    """A cloud subscription or key. Its concurrency is how many sessions may be live on it, over all machines."""

    base_url: Url
    protocol: Protocol = "chat"
    key: SecretName | None = Field(None, description="Secret by name: env:VARIABLE or file:PATH.")
    concurrency: int = Field(1, ge=1, le=10_000, strict=True, description="Live sessions, over all machines.")
    lease: LeasePolicy = Field(
        "attempt", description="Held for the whole attempt, or only for the stages that use it."
    )
    windows: tuple[Window, ...] = Field((), description="Quota windows.")
    zones: Zones = Field(default_factory=Zones, description="Per zone: run, slow (one at a time) or defer.")


class Pool(Model):
    """Local model servers of one kind, and how many requests they serve at a time."""

    base_url: Url
    protocol: Protocol = "chat"
    key: SecretName | None = None
    slots: int | None = Field(
        None,
        ge=1,
        le=10_000,
        strict=True,
        description="At most so many requests at a time; default: as many as the server tells, or 1.",
    )
    lease: LeasePolicy = Field(
        "attempt", description="Held for the whole attempt, or only for the stages that use it."
    )


class FleetModel(Model):
    """A model by the short name that profiles use."""

    name: str = Field(min_length=1, description="The name that the server knows.")
    account: Name | None = Field(None, description="The account that serves it; or `pool`.")
    pool: Name | None = None
    context_window: int = Field(gt=0, lt=2**53, strict=True, description="Tokens.")
    max_output: int = Field(8192, gt=0, lt=2**53, strict=True, description="Tokens of one answer.")
    prices: ModelPrices | None = None
    served_names: tuple[str, ...] = Field((), description="Other names under which the server may answer.")


class Fleet(Model):
    """One fleet file."""

    accounts: Mapping[Name, Account] = Field(default_factory=dict)
    pools: Mapping[Name, Pool] = Field(default_factory=dict)
    models: Mapping[Name, FleetModel] = Field(min_length=1)
    notify: Mapping[Name, Channel] | None = Field(
        None, description="Who is told of what; without this part, what an earlier file said stays."
    )

    def server_of(self, model: str) -> Account | Pool:
        """The account or pool that serves a model (validated files always have one)."""
        entry = self.models[model]
        return self.accounts[entry.account] if entry.account else self.pools[entry.pool or ""]

    def resource_of(self, model: str) -> str:
        """`account:<name>` or `pool:<name>`: what a stage with this model must hold a slot of."""
        entry = self.models[model]
        return f"account:{entry.account}" if entry.account else f"pool:{entry.pool}"

    def capacities(self) -> dict[str, int]:
        """Slots of every resource, as far as this file alone tells."""
        accounts = {f"account:{name}": account.concurrency for name, account in self.accounts.items()}
        return accounts | {f"pool:{name}": pool.slots or 1 for name, pool in self.pools.items()}
