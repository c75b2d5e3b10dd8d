"""Checks of the second part of a campaign."""

from orchestrator.files.cross import Parts
from orchestrator.files.tree import Tree
from orchestrator.files.words import mapping, names, sequence, show


def check_then(tree: Tree, parts: Parts) -> None:
    """Its profiles exist, and leave some for the first part. A race stops profiles on targets that nobody chose."""
    raw = mapping(tree.get("then"))
    profiles = mapping(tree.get("profiles"))
    listed = {number: name for number, name in enumerate(sequence(raw.get("profiles"))) if isinstance(name, str)}
    for number, name in listed.items():
        if name not in profiles:
            place = ("then", "profiles", number)
            tree.fault(place, "is no profile of this file", found=show(name), accepted=names(profiles, name))
    if parts.profiles and set(listed.values()) >= set(profiles):
        tree.fault(("then", "profiles"), "leaves no profile for the first part", accepted="some of the profiles")
    if raw and tree.get("race") is not None:
        tree.fault(("then",), "cannot be combined with 'race'", accepted="one of the two")
