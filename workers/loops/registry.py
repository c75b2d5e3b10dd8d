"""The loops by the names that experiment files use."""

from workers.loops.external import external
from workers.loops.single import single
from workers.loops.staged import staged
from workers.loops.steps import NextStep
from workers.loops.tasks import tasks

LOOPS: dict[str, NextStep] = {"single": single, "staged": staged, "tasks": tasks, "external": external}
