"""What each page of the live view reads, and which of its parts have changed since when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.reports.eta import Foreteller
from orchestrator.settings import Settings
from orchestrator.storage.engine import Database
from orchestrator.storage.grid import experiment_of, listed
from orchestrator.web.board import Board, View
from orchestrator.web.fleet import FleetReader
from orchestrator.web.job import read_job
from orchestrator.web.render import experiment_sections, job_sections, list_sections, spoken


@dataclass(frozen=True, kw_only=True)
class Look:
    """A page at one moment: its sections, each with the tick in which it changed last. `view` is of a matrix."""

    tick: int
    sections: Mapping[str, str]
    changed: Mapping[str, int]
    title: str
    view: View | None = None
    experiment: str = ""
    spoken: str = ""

    def changed_since(self, tick: int) -> dict[str, str]:
        """The sections that somebody who has seen this tick does not have."""
        return {name: html for name, html in self.sections.items() if self.changed[name] > tick}


class _Ticks:
    """Counts readings, and remembers in which one each section became what it is."""

    def __init__(self) -> None:
        self._tick = 0
        self._sections: Mapping[str, str] = {}
        self._changed: dict[str, int] = {}

    def look(
        self,
        sections: Mapping[str, str],
        title: str,
        *,
        view: View | None = None,
        experiment: str = "",
        spoken: str = "",
    ) -> Look:
        self._tick += 1
        for name, html in sections.items():
            if self._sections.get(name) != html:
                self._changed[name] = self._tick
        self._sections = sections
        return Look(
            tick=self._tick,
            sections=sections,
            changed=dict(self._changed),
            title=title,
            view=view,
            experiment=experiment,
            spoken=spoken,
        )


def list_reader(database: Database, fleet: FleetReader) -> Callable[[datetime], Look]:
    """Reads the list of experiments."""
    ticks = _Ticks()

    def read(now: datetime) -> Look:
        seen = fleet.look(now)
        return ticks.look(list_sections(listed(database), seen, now), "Experiments")

    return read


def experiment_reader(database: Database, fleet: FleetReader, name: str) -> Callable[[datetime], Look]:
    """Reads one experiment's matrix."""
    ticks, board, foreteller = _Ticks(), Board(name), Foreteller(database, name)

    def read(now: datetime) -> Look:
        seen = fleet.look(now)
        view = board.look(database, seen.slots, seen.closed, now)
        sections = experiment_sections(view, seen, foreteller.soon(now))
        return ticks.look(sections, name, view=view, experiment=name, spoken=spoken(view))

    return read


def job_reader(
    database: Database, fleet: FleetReader, settings: Settings, job_id: int, *, agent_text: bool
) -> Callable[[datetime], Look]:
    """Reads one job."""
    ticks = _Ticks()

    def read(now: datetime) -> Look:
        seen = fleet.look(now)
        experiment = experiment_of(database, job_id)
        view = read_job(database, settings, job_id, seen, now, agent_text=agent_text)
        sections = job_sections(view, shown=agent_text)
        return ticks.look(sections, view.facts.label, experiment=experiment, spoken=view.word)

    return read
