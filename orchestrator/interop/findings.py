"""What did not add up in somebody else's data, and how it was read: the reconcile report of an import."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is unclear, missing or contradicts itself.

    `kind` is a slug for programs, `where` a line of a file or a run, `read_as` what the import made of it.
    """

    kind: str
    where: str
    found: str
    read_as: str


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The report for programs, in the order in which things were found."""
    return [asdict(finding) for finding in findings]


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """The report for people: what was found, and under it how it was read. Equal things of many runs share a line."""
    if not findings:
        return ["Reconcile report: nothing was unclear."]
    places: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        places.setdefault((finding.kind, finding.found, finding.read_as), []).append(finding.where)
    lines = [f"Reconcile report: {len(findings)} findings."]
    for (kind, found, read_as), where in places.items():
        shown = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        lines += [f"  {kind}  {shown}", f"    found:   {found}", f"    read as: {read_as}"]
    return lines
