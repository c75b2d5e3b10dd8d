"""One look at the races: stop what cannot win, and end what waits of it. Costs nothing where no job moved."""

from datetime import datetime
from math import ceil

from orchestrator.analysis.race import decide
from orchestrator.domain.race import Race
from orchestrator.storage.engine import Database
from orchestrator.storage.races import Racing, Runs, race_rows, racing, settle_race, stops_of


class RaceWatch:
    """What a scheduler remembers of its last look. Losing it costs one look more."""

    def __init__(self) -> None:
        self._seen: dict[int, Racing] = {}

    def look(self, database: Database, now: datetime) -> list[str]:
        """Judge the races in which a job has moved. Returns a line for the log for each that lost jobs by it."""
        races = racing(database)
        moved = [race for race in races if self._seen.get(race.experiment_id) != race]
        lines = [line for race in moved if (line := _judge(database, race, now))]
        self._seen = {race.experiment_id: race for race in races}
        return lines


def _judge(database: Database, race: Racing, now: datetime) -> str:
    with database.read() as connection:
        out = {one.stop.arm for one in stops_of(connection, race.experiment_id)}
    rows, runs = race_rows(database, race.experiment_id)
    stops = decide(rows, race.rules, out)
    ended = settle_race(database, race, stops, over(race.rules, runs), now)
    if not stops and not ended:
        return ""
    return f"experiment={race.name} stopped={len(stops)} jobs_ended={ended} begun={runs.begun} of={runs.jobs}"


def over(rules: Race, runs: Runs) -> str:
    """Why the race has ended, in words; empty while it goes on."""
    if rules.most_runs is None or runs.begun < ceil(rules.most_runs * runs.jobs):
        return ""
    return f"the race is over: {runs.begun} of {runs.jobs} jobs were begun, and most_runs is {rules.most_runs:g}"
