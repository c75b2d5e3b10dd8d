"""A real llama.cpp server with a tiny random model, for tests on machines that have one installed."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from orchestrator.embedded import tethered
from tests.support.tiny_gguf import write_tiny_model

_BUILT = Path(__file__).parents[2] / "ops/llama/llama-server"


class MissingLlama(Exception):
    """llama-server is not installed."""


class Llama:
    """One server with its slots on one port, also after a restart; make it in a thread that outlives it."""

    def __init__(self, folder: Path, *, slots: int = 2, context_tokens: int = 131072) -> None:
        found = str(_BUILT) if os.access(_BUILT, os.X_OK) else shutil.which("llama-server")
        if found is None:
            raise MissingLlama("llama-server is not installed: `make llama` builds it in some minutes")
        model = write_tiny_model(folder / "tiny.gguf")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._argv = [
            found,
            "--model",
            str(model),
            "--alias",
            "tiny",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
        ]
        self._argv += ["--parallel", str(slots), "--ctx-size", str(context_tokens), "--threads", "1", "--metrics"]
        self._argv += ["--chat-template", "chatml", "--no-webui", "--ignore-eos"]
        self._log = folder / "llama.log"
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, or start it again. It loads for a moment."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(tethered(self._argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
