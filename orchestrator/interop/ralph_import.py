"""Reading ralph's files from disk and writing ours: the shell around `ralph_conf` and `ralph_experiment`."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.domain.errors import Conflict, Fault, InvalidInput, NotFound, Unavailable
from orchestrator.domain.experiment import is_remote
from orchestrator.files import load_experiment
from orchestrator.interop.findings import Finding
from orchestrator.interop.input_file import read_file
from orchestrator.interop.ralph_conf import read_conf
from orchestrator.interop.ralph_experiment import Files, to_files
from orchestrator.interop.ralph_ledger import Ledger, read_ledger
from orchestrator.interop.ralph_profiles import NO_PROFILES, read_profiles
from orchestrator.scheduling.submit import ask_machine
from orchestrator.settings import child_environment


def import_conf(
    file: Path, *, name: str, profiles: Path | None, overrides: Mapping[str, str], harness: bool
) -> Files:
    """Read an experiment of ralph's. Raises InvalidInput with every fault of a file, and NotFound."""
    environment = child_environment()
    conf, findings = read_conf(read_file(file), str(file), environment, overrides)
    if not is_remote(conf.target_repo) and not Path(conf.target_repo).is_absolute():
        where = (file.absolute().parent / conf.target_repo).resolve()
        found = f"TARGET_REPO={conf.target_repo} depends on where it is read"
        findings.append(Finding(kind="repo_relative", where=str(file), found=found, read_as=str(where)))
        conf = replace(conf, target_repo=str(where))
    home = environment.get("HOME")
    if profiles is None and home and (usual := Path(home, ".config/ralph/config.toml")).is_file():
        profiles = usual
        findings.append(
            Finding(kind="profiles_found", where=str(usual), found="no --profiles given", read_as="ralph's own file")
        )
    known = read_profiles(read_file(profiles), str(profiles)) if profiles else NO_PROFILES
    made = to_files(conf, known, name=name, source=file.name, told=profiles is not None, home=home, harness=harness)
    return Files(experiment=made.experiment, fleet=made.fleet, findings=(*findings, *made.findings))


def write_files(made: Files, folder: Path, *, force: bool) -> Path:
    """Write both files and check them; returns the experiment file. Raises like `write_texts`, and InvalidInput."""
    file = folder / "experiment.yaml"
    write_texts({file: made.experiment, folder / "fleet.toml": made.fleet}, force=force)
    load_experiment(file)
    return file


def write_texts(texts: Mapping[Path, str], *, force: bool) -> None:
    """Write files. Raises Conflict, and writes nothing, where other content is in the way; Unavailable."""
    for path, text in texts.items():
        if not force and os.path.lexists(path) and not (path.is_file() and path.read_bytes() == text.encode()):
            raise Conflict(
                f"{path} is there already, with other content: -o names another folder, --force writes over"
            )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error.strerror}") from None


def read_folder(folder: Path) -> Ledger:
    """The ledger in a folder. One file may be missing, as after a run that was killed; NotFound without either."""
    files = {name: folder / name for name in ("runs.jsonl", "iterations.jsonl")}
    try:
        data = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    except OSError as error:
        raise NotFound(f"{folder}: {error.strerror}") from None
    if not data:
        raise NotFound(f"{folder}: there is no runs.jsonl and no iterations.jsonl; name the folder of a ledger")
    return read_ledger(data.get("runs.jsonl", b""), data.get("iterations.jsonl", b""))


def look_at_target(experiment_file: Path) -> list[Finding]:
    """What a look at the repository shows, where it is on this machine; its base and task may not exist."""
    loaded = load_experiment(experiment_file)
    target = loaded.experiment.targets[0]
    if is_remote(target.source) or not Path(target.source).exists():
        found = "the repository is not on this machine"
        return [
            Finding(
                kind="repo_absent", where=target.source, found=found, read_as="not looked at: 'bakeoff plan' will"
            )
        ]
    try:
        ask_machine(loaded)
    except InvalidInput as error:
        return [_problem(fault, target.task, target.base) for fault in error.faults]
    return []


def _problem(fault: Fault, task: str | None, base: str) -> Finding:
    part = fault.field.rpartition(".")[2]
    kinds = {"task": "spec_missing", "base": "base_unknown"}
    found = f"the spec {task} does not exist at its base {base}" if part == "task" else fault.message
    if part == "task" and "no such file" not in fault.message:
        found = fault.message
    read_as = "as written; 'bakeoff plan' refuses it until it is committed there, or 'base' names where it is"
    return Finding(kind=kinds.get(part, "repo_problem"), where=fault.field, found=found, read_as=read_as)
