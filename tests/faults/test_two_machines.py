"""The example with two machines: one that is cut off ends its trees, and its late results are refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

_RUN = Path(__file__).parents[2] / "examples" / "two-machines" / "run.py"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)
def test_a_machine_that_is_cut_off_loses_its_jobs_and_does_no_harm() -> None:
    done = subprocess.run([sys.executable, str(_RUN)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 4:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no process of its attempts is left (process table), and their leases still hold" in done.stdout
    assert "runs again on left" in done.stdout
    assert "all were refused" in done.stdout
    assert "result_refused" in done.stdout
