"""What is exported, as the programs read it for which it is: MLflow, Harbor's trajectories, OpenTelemetry's names.

They are too heavy to be installed for this alone. `INTEROP_PYTHON` names a Python that has them.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab

PYTHON = os.environ.get("INTEROP_PYTHON", sys.executable)
TRIALS = """submission,task,trial,resolved,failure_mode,in_tok,out_tok,started,ended,cost_usd
20250101_droid_gpt-5,x,1,1,unset,100,20,2025-01-01T00:00:00+00:00,2025-01-01T00:01:00+00:00,0.5
20250101_droid_gpt-5,x,2,0,agent_timeout,,,2025-01-01T01:00:00+00:00,2025-01-01T01:01:00+00:00,
"""


def other(program: str, *arguments: str) -> Any:
    """What a script prints as JSON. Skips where its packages are not there."""
    package = re.findall(r"^(?:import|from) (mlflow|harbor|opentelemetry)", program, re.MULTILINE)[0]
    if subprocess.run([PYTHON, "-c", f"import {package}"], capture_output=True, check=False).returncode:
        pytest.skip(f"{package} is not installed; INTEROP_PYTHON names a Python that has it")
    env = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true"}
    done = subprocess.run(
        [PYTHON, "-c", program, *arguments], capture_output=True, text=True, env=env, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def exported(lab: Lab, form: str, *more: str) -> Path:
    (lab.root / "trials.csv").write_text(TRIALS)
    assert lab.bakeoff("import", "trials", "trials.csv").code == 0
    done = lab.bakeoff("export", form, "trials", "-o", form, *more)
    assert done.code == 0, done.err
    return lab.root / form


SEARCH = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
found = mlflow.search_runs(experiment_names=["trials"], order_by=["start_time ASC"])
print(found.to_json(orient="records"))
"""


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_mlflow_finds_the_runs(lab: Lab, store: str) -> None:
    folder = exported(lab, "mlflow")
    uri = folder.as_uri()
    other("import mlflow\nprint(1)")
    if store == "sqlite":
        uri = f"sqlite:///{lab.root / 'mlflow.db'}"
        command = [PYTHON, "-m", "mlflow", "migrate-filestore", "--source", str(folder), "--target", uri]
        subprocess.run(command, check=True, capture_output=True)
    first, second = other(SEARCH, uri)
    assert {name: first[name] for name in ("status", "metrics.cost_usd", "metrics.input_tokens")} == {
        "status": "FINISHED",
        "metrics.cost_usd": 0.5,
        "metrics.input_tokens": 100.0,
    }
    assert (first["params.model.build"], first["tags.bakeoff.outcome"]) == ("gpt-5", "complete")
    assert (first["metrics.checks_passed"], second["metrics.checks_passed"]) == (1.0, 0.0)
    assert (second["status"], second["metrics.cost_usd"]) == ("FAILED", None), "unknown is not zero"


TRAJECTORIES = """
import pathlib, sys
from harbor.models.trajectories import Trajectory
files = sorted(pathlib.Path(sys.argv[1]).iterdir())
print(len([Trajectory.model_validate_json(file.read_text()) for file in files]))
"""


@pytest.mark.parametrize("more", [(), ("--with-agent-text",)])
def test_harbor_takes_the_trajectories(lab: Lab, more: tuple[str, ...]) -> None:
    assert other(TRAJECTORIES, str(exported(lab, "atif", *more))) == 2


NAMES = """
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names
import json
print(json.dumps([value for value in vars(names).values() if str(value).startswith("gen_ai.")]))
"""


def test_the_names_on_spans_are_those_of_the_conventions(lab: Lab) -> None:
    text = (exported(lab, "otel") / "spans.jsonl").read_text()
    used = set(re.findall(r'"(gen_ai\.[a-z_.]+)"', text))
    assert len(used) >= 6
    source = Path(__file__).parents[2] / "orchestrator" / "interop" / "otel.py"
    used |= set(re.findall(r'"(gen_ai\.[a-z_.]+)"', source.read_text()))
    assert used <= set(other(NAMES)), "spelled as the conventions have it"
