"""Looks at model servers for `doctor`, as a process of its own: `orchestrator` does not import `workers`.

One JSON list of `ServerQuestion` on standard input, one list of `ServerReport` in the same order on standard output.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from pydantic import TypeAdapter

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.model_server import ServerQuestion, ServerReport
from orchestrator.settings import read_secret
from workers.models.probe import Prober


def answer(question: ServerQuestion) -> ServerReport:
    """One look. A key that cannot be read is told beside what the server says without it."""
    key, fault = None, ""
    if question.key is not None:
        try:
            key = read_secret(question.key)
        except Unavailable as error:
            fault = str(error)
    report = Prober(question.base_url, key).look()
    return report.model_copy(update={"detail": "; ".join(filter(None, (report.detail, fault)))})


def main() -> None:
    """Standard input to standard output."""
    questions = TypeAdapter(tuple[ServerQuestion, ...]).validate_json(sys.stdin.read())
    with ThreadPoolExecutor(max_workers=16) as threads:
        reports = tuple(threads.map(answer, questions))
    sys.stdout.write(TypeAdapter(tuple[ServerReport, ...]).dump_json(reports).decode())


if __name__ == "__main__":
    main()
