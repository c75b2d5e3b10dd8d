"""JUnit XML, as pytest, Maven, Gradle, gtest and many others write it.

Read as a stream by expat with every document type refused: without one there are no entities to expand and nothing to
fetch. Depth is bounded too.
"""

from collections.abc import Iterator, Set
from xml.parsers import expat

from orchestrator.domain.cases import MAX_CASES, Case, CaseStatus
from workers.cases.text import BadReport, name_of, seconds_of

_MAX_DEPTH = 100
_CHILDREN = {
    "failure": CaseStatus.FAIL,
    "error": CaseStatus.ERROR,
    "skipped": CaseStatus.SKIPPED,
    "disabled": CaseStatus.SKIPPED,
}
_NOT_RUN = frozenset({"notrun", "skipped", "disabled", "suppressed"})
_WORST = (CaseStatus.ERROR, CaseStatus.FAIL, CaseStatus.SKIPPED, CaseStatus.PASS)


def parse_junit(data: bytes) -> list[Case]:
    """The test cases in order, at most one more than is kept. Raises BadReport for other XML and document types."""
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadReport(f"no well-formed XML: {error}") from None
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise BadReport(f"unreadable XML: {error}") from None
    return list(reader.cases())


class _Reader:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self._path: list[str] = []
        self._suites: list[str] = []
        self._found: list[tuple[str, Set[CaseStatus], float | None]] = []

    def cases(self) -> Iterator[Case]:
        for name, statuses, seconds in self._found:
            status = next(one for one in _WORST if one in statuses or one is CaseStatus.PASS)
            yield Case(name=name, status=status, seconds=seconds)

    def _doctype(self, *_: object) -> None:
        raise BadReport("the XML has a document type, which no test report needs")

    def _start(self, tag: str, values: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if not self._path and tag not in ("testsuites", "testsuite"):
            raise BadReport(f"no JUnit report: it begins with <{tag[:40]}>")
        if len(self._path) == _MAX_DEPTH:
            raise BadReport(f"elements within {_MAX_DEPTH} others")
        if tag == "testsuite":
            self._suites.append(values.get("name", ""))
        elif tag == "testcase":
            self._case(values)
        elif self._path and self._path[-1] == "testcase" and tag in _CHILDREN:
            name, statuses, seconds = self._found[-1]
            if values.get("type") == "todo":  # node writes why it failed too, which was to be expected
                self._found[-1] = (name, frozenset({CaseStatus.SKIPPED}), seconds)
            elif isinstance(statuses, set):
                statuses.add(_CHILDREN[tag])
        self._path.append(tag)

    def _end(self, _: str) -> None:
        if self._path.pop() == "testsuite":
            self._suites.pop()

    def _case(self, values: dict[str, str]) -> None:
        group = values.get("classname") or (self._suites[-1] if self._suites else "")
        name = values.get("name", "")
        told = {values.get("status", "").casefold(), values.get("result", "").casefold()}
        statuses = {CaseStatus.SKIPPED} if told & _NOT_RUN else set()
        del self._found[MAX_CASES:]  # that there are more is all that is told of them
        whole = name_of("::", group, name) if group else name
        self._found.append((whole, statuses, seconds_of(values.get("time"))))
