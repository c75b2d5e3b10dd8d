"""The names of metrics, and the dashboard, alerts and reference that are made of them."""

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from orchestrator.reports.metrics import CATALOGUE

ROOT = Path(__file__).parents[2]


def test_names_and_units_follow_the_conventions() -> None:
    for name, (kind, labels, text) in CATALOGUE.items():
        assert re.fullmatch(r"bakeoff(_[a-z]+)+", name), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_milliseconds", "_ms", "_percent")), name
        assert kind in ("gauge", "counter", "histogram", "summary"), name
        assert not set(labels) & {"job", "instance", "le", "quantile", "attempt"}, name
        assert text.endswith("."), name
    timed = [name for name in CATALOGUE if "seconds" in name]
    assert all(name.endswith("_seconds") for name in timed)


def exposed() -> dict[str, set[str]]:
    """Every name that Prometheus stores, with its labels."""
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    for name, (kind, labels, _) in CATALOGUE.items():
        own = {*labels, "job", "instance"}
        if kind == "counter":
            found[f"{name}_total"] = own
        elif kind == "gauge":
            found[name] = own
        else:
            found |= {f"{name}_sum": own, f"{name}_count": own}
            if kind == "histogram":
                found[f"{name}_bucket"] = own | {"le"}
    return found


def used(expression: str) -> list[tuple[str, set[str]]]:
    """Metrics of a PromQL expression, each with the labels that the expression takes of it."""
    lists = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    grouped = {label for found in lists for label in found.split(", ")} - {""}
    selectors = re.findall(r"\b(bakeoff_\w+|up)\b(?:\{([^}]*)\})?", expression)
    return [(name, {*re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers), *grouped}) for name, matchers in selectors]


def faults(expression: str) -> list[str]:
    """Metrics that do not exist, and labels that theirs do not have."""
    known = exposed()
    strange = {name: labels - known.get(name, set()) for name, labels in used(expression)}
    return [
        f"{name}: {', '.join(sorted(strange[name]))}" if name in known else name
        for name in strange
        if name not in known or strange[name]
    ]


def test_the_dashboard_asks_for_metrics_that_exist_and_its_panels_do_not_overlap() -> None:
    dashboard = json.loads((ROOT / "ops/grafana/bakeoff.json").read_text())
    assert dashboard["schemaVersion"] >= 39
    assert {"title", "uid", "time", "templating", "panels"} <= set(dashboard)
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids)) >= 20
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    targets = [target for panel in panels for target in panel.get("targets", ())]
    assert all(target["datasource"]["uid"] == "${datasource}" for target in targets)
    for target in targets:
        assert used(target["expr"]), target["expr"]
        assert faults(target["expr"]) == []
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"experiment"}
        labels = set.intersection(*(exposed()[name] for name, _ in used(target["expr"])))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target
    for variable in dashboard["templating"]["list"]:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", "label_values(up, job)"))
        assert match
        assert match[2] in exposed()[match[1]]
    assert faults('sum by (nonsense) (bakeoff_jobs{stat="x"}) + no') == ["bakeoff_jobs: nonsense, stat"]
    assert faults("bakeoff_job") == ["bakeoff_job"]


def test_alerts_ask_for_metrics_that_exist_and_say_what_to_do() -> None:
    loaded: Any = YAML(typ="safe").load(ROOT / "ops/prometheus/bakeoff.rules.yml")
    rules = [rule for group in loaded["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert used(rule["expr"]), rule["alert"]
        assert faults(rule["expr"]) == [], rule["alert"]
        assert set(rule["annotations"]) == {"summary", "next_step"}
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= set.intersection(*(exposed()[name] for name, _ in used(rule["expr"])))
        book = rule["annotations"]["next_step"]
        assert not book.startswith("ops/") or (ROOT / book).exists()
    scrape: Any = YAML(typ="safe").load(ROOT / "ops/prometheus/prometheus.yml")
    assert scrape["rule_files"] == ["bakeoff.rules.yml"]
    assert scrape["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]


def test_the_reference_lists_every_metric() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [
        (
            f"{name}_total" if one.kind == "counter" else name,
            one.kind,
            ", ".join(f"`{label}`" for label in one.labels) or "-",
            one.help,
        )
        for name, one in CATALOGUE.items()
    ]
