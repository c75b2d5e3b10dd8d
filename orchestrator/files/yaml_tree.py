"""YAML 1.2 as plain data with lines: composed nodes are walked here, so nothing of YAML's object magic runs."""

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.files.tree import Data, Path, Tree

# Aliases may repeat content; together with it a file stays below this many values (the "billion laughs").
MAX_NODES = 200_000
MAX_DEPTH = 40
_CORE = "tag:yaml.org,2002:"
# Timestamps are no type of YAML 1.2, and nothing here wants one: they stay text, like strings.
_TEXT_TAGS = frozenset({_CORE + "str", _CORE + "timestamp", _CORE + "merge", _CORE + "value"})


def parse_yaml(text: str, tree: Tree) -> None:
    """Fill a tree from YAML text. Every fault of syntax, duplicate key or size is noted in it."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        tree.fault((), "is not valid YAML", found=problem, line=mark.line + 1 if mark else None)
    except YAMLError as error:
        tree.fault((), "is not valid YAML", found=str(error).splitlines()[0])
    except RecursionError:
        tree.fault((), "is nested too deeply", accepted=f"at most {MAX_DEPTH} levels")
    except (ValueError, OverflowError) as error:  # impossible escapes, absurd directives
        tree.fault((), "is not valid YAML", found=str(error))
    else:
        _fill(tree, root)


def _fill(tree: Tree, root: Node | None) -> None:
    if root is None:
        tree.fault((), "holds nothing but comments", accepted="a mapping that begins with 'experiment: NAME'")
        return
    walk = _Walk(tree)
    try:
        tree.data = walk.value(root, (), 0)
    except _Bounded as stop:
        tree.fault((), str(stop), accepted=f"at most {MAX_NODES} values, {MAX_DEPTH} levels, no alias inside itself")


class _Bounded(Exception):
    """The file is larger, once its aliases are written out, than anybody would want."""


class _Walk:
    """Turns nodes into data, counting them."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._count = 0

    def value(self, node: Node, path: Path, depth: int) -> Data:
        """The data of a node; its line is noted under its path unless its key's line already is."""
        self._enter(depth)
        self._tree.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path, depth: int) -> dict[str, Data]:
        data: dict[str, Data] = {}
        merges = []
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                self._tree.fault(path, "a key is not text", accepted="a plain key", line=key.start_mark.line + 1)
            elif key.tag == _CORE + "merge":
                merges.append(item)
            elif key.value in data:
                first = self._tree.lines[(*path, key.value)]
                self._tree.fault(
                    (*path, key.value),
                    f"is given twice; the first is in line {first}",
                    accepted="each key once",
                    line=key.start_mark.line + 1,
                )
            else:
                self._tree.lines.setdefault((*path, key.value), key.start_mark.line + 1)
                data[key.value] = self.value(item, (*path, key.value), depth + 1)
        for item in merges:
            self._merge(data, item, path, depth)
        return data

    def _merge(self, data: dict[str, Data], node: Node, path: Path, depth: int) -> None:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, MappingNode):
                line = source.start_mark.line + 1
                self._tree.fault((*path, "<<"), "merges something that is not a mapping", line=line)
                continue
            # Lines that are noted already win, so a key that overrides a merged one keeps its own.
            self._enter(depth + 1)
            for key, item in self._mapping(source, path, depth + 1).items():
                data.setdefault(key, item)

    def _enter(self, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise _Bounded("has too many values")
        if depth > MAX_DEPTH:
            raise _Bounded("is nested too deeply")

    def _scalar(self, node: Node, path: Path) -> Data:
        tag, text = str(node.tag), str(node.value)
        if tag in _TEXT_TAGS:
            return text
        if tag == _CORE + "null":
            return None
        if tag == _CORE + "bool":
            return text.lower() == "true" if text.lower() in ("true", "false") else text
        if tag in (_CORE + "int", _CORE + "float"):
            return _number(tag, text)
        self._tree.fault(path, "has a tag", found=tag, accepted="plain values without '!'")
        return None


def _number(tag: str, text: str) -> int | float | str:
    plain = text.replace("_", "").lower()
    try:
        if tag.endswith("int"):
            return int(plain, 0) if plain.lstrip("+-")[:2] in ("0x", "0o") else int(plain)
        return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # thousands of digits
        return text
