"""`plan` warns of a model whose live server gives it less context than the fleet file says."""

import json

from orchestrator.clock import utc_now
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from orchestrator.storage import pools
from orchestrator.storage.engine import Database
from tests.support.lab import Lab


def test_plan_names_a_window_that_is_smaller_than_the_file_says(lab: Lab) -> None:
    lab.write_fleet(models={"local": {}})
    lab.write(profiles={"one": "local"})
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    database = Database(f"sqlite:///{lab.home / 'bakeoff.db'}")
    server = pools.pool_server(database, "box")
    assert server is not None
    seen = ServerReport(health=Health.HEALTHY, models=(ServedModel(names=("local",), context_tokens=8192),))
    assert pools.report(database, server, "gpu-1", pools.Moment("boot", 1.0), seen, utc_now())
    database.close()
    told = lab.bakeoff("plan", str(lab.file))
    assert "model local has context_window = 100000, but its server gives a request 8192 tokens" in told.out
    assert len(json.loads(lab.bakeoff("plan", "--json", str(lab.file)).out)["context_warnings"]) == 1
