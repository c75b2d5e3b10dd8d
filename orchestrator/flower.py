"""Flower with the fleet's own settings: `python -m orchestrator.flower PORT ADDRESS`. Started by `bakeoff flower`.

The login comes in the environment, not on the command line, where every user of the machine could read it.
"""

import sys

from flower.command import flower as flower_command
from tornado.options import options

from orchestrator.broker import celery_app
from orchestrator.settings import flower_login, load_settings

# Flower keeps about 5 KiB per task: this bounds it at some 25 MiB also beside a matrix of 100,000 jobs.
_MAX_TASKS = 5000


def main() -> None:
    """Run until told to stop."""
    port, address = sys.argv[1:3]
    options.define_all = None
    app = celery_app(load_settings())
    arguments = [
        f"--port={port}",
        f"--address={address}",
        f"--max_tasks={_MAX_TASKS}",
        # A worker that is gone disappears; its health is the database's to tell.
        "--purge_offline_workers=60",
        "--natural_time=True",
        "--inspect_timeout=3000",
        # Jobs are controlled through the database; a revoke here would lose a hint and look like a success.
        "--read_only=True",
        "--tasks_columns=name,uuid,state,args,result,received,started,runtime,worker",
        f"--basic-auth={flower_login()}",
    ]
    app.start(argv=["flower", *arguments])


if __name__ == "__main__":
    assert flower_command  # the import registers it as a Celery command's module
    main()
