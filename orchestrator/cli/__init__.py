"""The command line. Commands load only when they are called, so that `--help` stays quick."""

import importlib
import json
import logging
import os
import sys

import click

from orchestrator.domain.errors import BakeoffError, ExitCode, InvalidInput

# name: (module, one line for the overview). The overview needs no import of the commands.
_COMMANDS = {
    "run": ("run", "Run an experiment here, from start to verdict, with everything it needs."),
    "validate": ("plan", "Check an experiment file and its fleet file."),
    "plan": ("plan", "Show every job, its order and queue, and what is already done."),
    "submit": ("plan", "Store an experiment's new jobs; a running scheduler starts them."),
    "status": ("status", "Show where every job stands and why it waits."),
    "why": ("why", "Say what a job waits for, where it is, or how it ended."),
    "watch": ("watch", "Follow an experiment live."),
    "report": ("report", "Print the verdict; write it as HTML, Markdown or JSON."),
    "analyze": ("analyze", "Analyse published results, or an experiment, like a report; nothing is kept."),
    "import": ("interop_logs", "Read experiments and results of other programs (ralph, leaderboards, trials, logs)."),
    "export": ("export", "Write results in open formats, or in the form of other programs."),
    "reprice": ("reprice", "Price past runs again, with another table of list prices."),
    "pause": ("control", "Hold jobs back; what runs is ended with its work committed."),
    "resume": ("control", "Let paused and drained things go on."),
    "drain": ("control", "Let what runs end, and start nothing new."),
    "cancel": ("control", "Cancel jobs; what runs is ended within seconds."),
    "requeue": ("control", "Give ended jobs another try."),
    "prioritize": ("control", "Let jobs start before or after others."),
    "retune": ("control", "Change limits of jobs that wait or run."),
    "worker": ("fleet", "Run a worker for an account or a pool."),
    "scheduler": ("fleet", "Run the scheduler."),
    "flower": ("fleet", "Start Flower, with a login."),
    "web": ("web", "Show the matrix live in the browser, behind a login."),
    "notify": ("notify", "Say who is told of what, and send a test message."),
    "metrics": ("metrics", "Serve figures of the whole fleet for Prometheus."),
    "doctor": ("doctor", "Check this machine and say what is missing."),
    "gc": ("gc", "Remove trees of ended jobs whose work is archived; say what stays and why."),
    "timeline": ("timeline", "Replay everything that happened in a job's attempts."),
    "simulate": ("simulate", "Foretell how long a fleet takes, by the production order code."),
    "schema": ("plan", "Print the JSON Schema of a file, for editors."),
}


class _Lazy(click.Group):
    """A group that imports a command's module when the command is called or its own help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": None},
    epilog="Exit codes: 0 good, 1 a bug of ours, 2 usage, 3 invalid file, 4 something is missing here, 5 database, "
    "6 not found, 7 conflict, 8 stale attempt, 9 jobs are still open, 130 interrupted. "
    'Completion: eval "$(_BAKEOFF_COMPLETE=bash_source bakeoff)".',
)
@click.version_option(package_name="bakeoff")
def bakeoff() -> None:
    """Find out which coding agent, with which model at which stage, is worth using on your repositories.

    \b
    Begin with:
      bakeoff validate experiment.yaml
      bakeoff plan experiment.yaml
      bakeoff run experiment.yaml
    """


def main() -> None:
    """The console script: errors as one clear message on standard error and an exit code by kind."""
    # A log that cannot be written, on a full disk, is no reason to fill the terminal with tracebacks.
    logging.raiseExceptions = False
    code = ExitCode.OK
    try:
        result = bakeoff.main(standalone_mode=False)
        code = ExitCode(result) if isinstance(result, int) else ExitCode.OK
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except BakeoffError as error:
        _show(error)
        code = error.exit_code
    except BrokenPipeError:
        # The reader of our output left (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(int(code))


def _show(error: BakeoffError) -> None:
    if "--json" in sys.argv:
        document: dict[str, object] = {"error": {"kind": error.kind, "message": str(error)}}
        if isinstance(error, InvalidInput):
            document["faults"] = [vars(fault) for fault in error.faults]
        click.echo(json.dumps(document), err=True)
        return
    click.echo(click.style(f"error ({error.kind}): ", fg="red", bold=True) + str(error), err=True)
