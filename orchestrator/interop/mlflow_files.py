"""Runs for MLflow on disk, in the layout of its file store: the shell around `mlflow`."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Unavailable
from orchestrator.interop.mlflow import Run, experiment_id, run_of
from orchestrator.interop.open_tables import make_room
from orchestrator.storage.engine import Database
from orchestrator.storage.export import attempt_ids, attempt_parts


def write_runs(database: Database, experiment: str, folder: Path, *, force: bool) -> int:
    """One MLflow experiment in `folder`, a run for each attempt; returns how many.

    Nothing is there until all of it is. Raises Conflict where it is there already, and Unavailable.
    """
    own = experiment_id(experiment)
    place, part = folder / own, folder / f".{own}.part"
    make_room(folder, [place], force=force)
    ids = attempt_ids(database, experiment)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        where = {"artifact_location": place.absolute().as_uri(), "lifecycle_stage": "active"}
        _meta(part, {"experiment_id": own, "name": experiment, **where})
        for one in ids:
            _write(part, place, own, run_of(attempt_parts(database, one)))
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
    except OSError as error:
        raise Unavailable(f"{place} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(ids)


def _write(part: Path, place: Path, experiment: str, run: Run) -> None:
    folder = part / run.run_id
    (folder / "artifacts").mkdir(parents=True)
    artifacts = (place / run.run_id / "artifacts").absolute().as_uri()
    ids = {"run_id": run.run_id, "run_uuid": run.run_id, "experiment_id": experiment, "artifact_uri": artifacts}
    nobody = {"entry_point_name": "", "source_name": "", "source_version": "", "user_id": "", "tags": []}
    _meta(folder, {**ids, **nobody, **run.meta})
    _files(folder / "params", run.params)
    _files(folder / "tags", run.tags)
    points = {
        name: "".join(f"{at} {value!r} {step}\n" for at, value, step in series)
        for name, series in run.metrics.items()
    }
    _files(folder / "metrics", points)


def _meta(folder: Path, values: Mapping[str, Any]) -> None:
    # JSON values are YAML, a line each.
    lines = "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(values.items()))
    (folder / "meta.yaml").write_text(lines, encoding="utf-8")


def _files(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
