"""Files beside the experiment file that it names: prompt templates and plans. What they say goes into the jobs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.matrix import Given
from orchestrator.domain.prompts import PLACEHOLDERS, template_faults
from orchestrator.domain.tasks import MAX_TASKS, MAX_TEXT_CHARS
from orchestrator.files.cross import Parts
from orchestrator.files.source import home_expanded, read_text
from orchestrator.files.tree import Data, Tree
from orchestrator.files.tree import Path as Place
from orchestrator.files.words import mapping, names, sequence, show
from orchestrator.files.yaml_tree import parse_yaml

# Prompts are stored with every cell.
_PROMPT_CHARS = 64 * 1024


@dataclass
class _Reader:
    """Reads each file once, notes faults where they are, and keeps what is sound."""

    tree: Tree
    folder: Path
    found: list[Tree] = field(default_factory=list)
    texts: dict[str, str | None] = field(default_factory=dict)

    def text(self, place: Place, name: str) -> str | None:
        """The text of a file that the experiment file names there; None after a fault was noted."""
        if name not in self.texts:
            other = self.file(name)
            self.texts[name] = read_text(Path(other.file), other)
            for fault in other.faults:
                self.tree.fault(
                    place, f"names an unusable file: {fault.message}", found=name, accepted=fault.accepted
                )
            other.faults.clear()
        return self.texts[name]

    def file(self, name: str) -> Tree:
        """A file beside the experiment file, as a place for faults of its own."""
        self.found.append(Tree(str(self.folder / home_expanded(Path(name)))))
        return self.found[-1]


def read_given(tree: Tree, parts: Parts, folder: Path) -> tuple[Given, list[Tree]]:
    """What the files say, and those of them that have faults of their own. Paths count from `folder`."""
    reader = _Reader(tree, folder)
    prompts = {name: text for name, text in _prompts(reader, parts) if text is not None}
    plans = {name: plan for name, plan in _plans(reader, parts) if plan}
    return Given(prompts=prompts, plans=plans), [one for one in reader.found if one.faults]


def _prompts(reader: _Reader, parts: Parts) -> Iterator[tuple[str, str | None]]:
    tree = reader.tree
    holders: dict[Place, Data] = {("prompts",): tree.get("prompts")}
    for profile in mapping(tree.get("profiles")):
        holders["profiles", profile, "prompts"] = tree.get("profiles", profile, "prompts")
    for place, holder in holders.items():
        for stage, name in mapping(holder).items():
            if not isinstance(name, str) or not name or parts.loop is None:
                continue
            stages = PLACEHOLDERS[parts.loop.kind]
            if stage not in stages:
                message = f"is no stage of the loop {parts.loop.kind!r}"
                tree.fault((*place, stage), message, accepted=names(stages, stage))
                continue
            text = reader.text((*place, stage), name)
            if text is not None:
                _check_template(reader, (*place, stage), name, text, parts.loop.kind)
            yield name, text


def _check_template(reader: _Reader, place: Place, name: str, text: str, loop: str) -> None:
    if len(text) > _PROMPT_CHARS:
        accepted = f"at most {_PROMPT_CHARS} characters"
        reader.tree.fault(place, "names a file that is too large", found=str(len(text)), accepted=accepted)
    for fault in template_faults(loop, str(place[-1]), text):
        line = f"{name}, line {fault.line}" if fault.line else name
        found = f"{fault.found} in {line}" if fault.found else line
        reader.tree.fault(place, fault.message, found=found, accepted=fault.accepted)


def _plans(reader: _Reader, parts: Parts) -> Iterator[tuple[str, tuple[str, ...]]]:
    tree = reader.tree
    for number, target in enumerate(map(mapping, sequence(tree.get("targets")))):
        name, place = target.get("plan"), ("targets", number, "plan")
        if not isinstance(name, str) or not name:
            continue
        if parts.loop and parts.loop.kind != "tasks":
            tree.fault(place, f"has no meaning in the loop {parts.loop.kind!r}", accepted="'loop: tasks'")
            continue
        text = reader.text(place, name)
        if text is not None:
            yield name, _plan(reader.file(name), text)


def _plan(file: Tree, text: str) -> tuple[str, ...]:
    """The tasks of a plan file: texts, or what `why --json` printed, of which parts and repairs are left out."""
    parse_yaml(text, file)
    if file.data is None:
        return ()
    listed = mapping(file.data).get("tasks") if isinstance(file.data, Mapping) else file.data
    place: Place = ("tasks",) if isinstance(file.data, Mapping) else ()
    if not isinstance(listed, list):
        file.fault(place, "is no list of tasks", found=show(listed), accepted="'tasks:' with a list of texts")
        return ()
    told = [
        (number, mapping(item).get("text") if isinstance(item, Mapping) else item)
        for number, item in enumerate(listed)
        if not (isinstance(item, Mapping) and item.get("planned") is False)
    ]
    for number, one in told:
        if not isinstance(one, str) or not one.strip() or len(one) > MAX_TEXT_CHARS:
            accepted = f"a text of 1 to {MAX_TEXT_CHARS} characters"
            file.fault((*place, number), "is no task", found=show(one), accepted=accepted)
    if not 1 <= len(told) <= MAX_TASKS:
        file.fault(place, "is no plan", found=f"{len(told)} tasks", accepted=f"1 to {MAX_TASKS} tasks")
    return tuple(one.strip() for _, one in told if isinstance(one, str))
