"""A llama.cpp of this machine that serves a GGUF model for as long as it is asked: llama-server, or the npm package."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

PLACE = "MEDVL_LLAMA_CPP"  # names a llama-server, or the folder where npm installed the package
SERVER, QUANTIZER, PACKAGE = "llama-server", "llama-quantize", "@fugood/llama.node"
SCRIPT = Path(__file__).with_name("llama_node.mjs")
LOADING_S = 600  # the longest that a model may take to load
ENDING_S = 10
TAIL = 2000  # characters of its log that an error shows
MEND = (
    f"Install llama.cpp so that {SERVER} is on the PATH, or run npm install --ignore-scripts {PACKAGE} in a folder "
    f"and set {PLACE}=<that folder>."
)


@dataclass(frozen=True, kw_only=True)
class LlamaCpp:
    """A llama.cpp that was found on this machine."""

    program: str
    packages: Path | None = None
    """The folder of npm's packages, which `program` is Node.js for; None: it is llama-server."""

    @classmethod
    def find(cls) -> LlamaCpp:
        """Return the one that the environment names, or the llama-server on the PATH.

        Raises:
            ValueError: There is none; the message says what to install.
        """
        named = os.environ.get(PLACE)
        if named is None:
            found = shutil.which(SERVER)
            if found is None:
                raise ValueError(f"a GGUF model is read by llama.cpp, and there is none here. {MEND}")
            return cls(program=found)
        place = Path(named).expanduser()
        if (place / "node_modules" / PACKAGE).is_dir():
            node = shutil.which("node")
            if node is None:
                raise ValueError(
                    f"{PLACE} names a package of Node.js, and there is no node on the PATH. Install Node.js."
                )
            return cls(program=node, packages=place.resolve())
        if place.is_file() and os.access(place, os.X_OK):
            return cls(program=str(place.resolve()))
        raise ValueError(f"{PLACE}={named} is neither {SERVER} nor a folder with {PACKAGE}. {MEND}")

    @classmethod
    def quantizer(cls) -> Path:
        """Return the llama-quantize beside the llama-server that the environment names, or on the PATH.

        Raises:
            ValueError: There is none.
        """
        named = os.environ.get(PLACE)
        beside = None if named is None else Path(named).expanduser().parent / QUANTIZER
        found = beside if beside is not None and beside.is_file() else shutil.which(QUANTIZER)
        if found is None:
            raise ValueError(f"there is no {QUANTIZER} on the PATH. Install llama.cpp, or set format=gguf_q8_0.")
        return Path(found)

    @property
    def name(self) -> str:
        """What serves the model."""
        return SERVER if self.packages is None else PACKAGE

    def described(self) -> str:
        """Return its name with its version, which llama-server counts in builds."""
        if self.packages is not None:
            facts = json.loads((self.packages / "node_modules" / PACKAGE / "package.json").read_text(encoding="utf-8"))
            return f"{PACKAGE} {facts['version']}"
        told = subprocess.run([self.program, "--version"], capture_output=True, text=True, errors="replace", timeout=60)
        found = re.search(r"version: (.+)", told.stdout + told.stderr)
        return f"{SERVER} {found[1] if found else 'of an unknown version'}"

    @property
    def tells_probabilities(self) -> bool:
        """Whether its answers come with log-probabilities of their tokens."""
        return self.packages is None

    def command(self, served: GgufModel, port: int) -> list[str]:
        """Return the command that serves a model on a port of this machine."""
        if self.packages is None:
            return [self.program, *served.arguments(), "--host", "127.0.0.1", "--port", str(port)]
        options = {**served.options(), "packages": str(self.packages), "port": port}
        return [self.program, str(SCRIPT), json.dumps(options)]

    @contextlib.contextmanager
    def serve(self, served: GgufModel) -> Iterator[str]:
        """Serve a model, and yield the address of its interface once it answers; the server ends with the block.

        Raises:
            ValueError: It ends or does not answer in time; the message shows the end of its log.
        """
        port, environment = _free_port(), {**os.environ, "OMP_WAIT_POLICY": "passive"}  # let other work have its turn
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                self.command(served, port), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            try:
                _wait(process, port, log, self.name)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                _end(process)


def gguf_too(formats: str) -> str:
    """Add the GGUF formats that can be written and read here to values of a sweep."""
    try:
        LlamaCpp.find()
        formats += ",gguf,gguf_q8_0"
        LlamaCpp.quantizer()
    except ValueError:
        return formats
    return f"{formats},gguf_q4_k_m"


@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """A model in two GGUF files, and how it is served."""

    model: Path
    projector: Path
    name: str
    min_pixels: int
    max_pixels: int
    """The pixel budget of an image."""
    context: int
    """Tokens of a prompt and its answer."""
    patch_pixels: int = 784
    """Pixels of a token of an image."""

    @property
    def min_tokens(self) -> int:
        return max(1, self.min_pixels // self.patch_pixels)

    @property
    def max_tokens(self) -> int:
        return self.max_pixels // self.patch_pixels

    def arguments(self) -> list[str]:
        """Return those of llama-server."""
        files = ["--model", str(self.model), "--mmproj", str(self.projector), "--alias", self.name]
        budget = ["--image-min-tokens", str(self.min_tokens), "--image-max-tokens", str(self.max_tokens)]
        return [*files, *budget, "--ctx-size", str(self.context), "--parallel", "1", "--jinja", "--no-webui"]

    def options(self) -> dict[str, object]:
        """Return those of the script in Node.js."""
        return {
            "model": str(self.model),
            "projector": str(self.projector),
            "name": self.name,
            "context": self.context,
            "min_tokens": self.min_tokens,
            "max_tokens": self.max_tokens,
            "threads": len(os.sched_getaffinity(0)),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], port: int, log: IO[bytes], name: str) -> None:
    """Wait until the server answers with its model; while it loads, it refuses or says 503."""
    opener, until = build_opener(ProxyHandler({})), time.monotonic() + LOADING_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ValueError(f"{name} ended with {process.returncode} before it answered: {_tail(log)}")
        with contextlib.suppress(URLError, OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.05)
    raise ValueError(f"{name} did not answer within {LOADING_S} s: {_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace")[-TAIL:].strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()
