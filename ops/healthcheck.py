#!/usr/bin/env python3
"""Exit code 0 when this container's process can reach the truth, at the schema that it needs; else says why not.

That the process lives is what the container itself tells, and everything else repairs itself.
"""

import sys

from orchestrator.domain.errors import BakeoffError
from orchestrator.settings import load_settings
from orchestrator.storage.engine import HEAD, Database


def main() -> int:
    """Look once; nothing is changed."""
    try:
        revision = Database(load_settings().database_url).revision()
    except BakeoffError as error:
        print(error)
        return 1
    if revision != HEAD:
        print(f"the database is at schema {revision}, this program needs {HEAD}")
    return int(revision != HEAD)


if __name__ == "__main__":
    sys.exit(main())
