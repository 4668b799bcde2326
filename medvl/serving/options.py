"""The `serve` config group: where a service listens, and its limits."""

from __future__ import annotations

import importlib.util
import ipaddress
import math
import os
import socket
from dataclasses import dataclass, fields

from medvl.metrics.registry import WANTED_ERRORS
from medvl.record.masking import check_variable

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
PACKAGES["prometheus_client"] = "prometheus-client"
LEAST_KEY = 16  # characters


@dataclass(kw_only=True, slots=True)
class Serve:
    """What `medvl serve` listens on and what a request may cost."""

    host: str = "127.0.0.1"
    """The address; any other than this machine's own needs a key."""
    port: int = 8000
    """The TCP port."""
    key: str | None = None
    """Name of the environment variable whose value clients send as `Authorization: Bearer <value>`; None: no key."""
    name: str = "medvl"
    """What the model is called in requests and answers."""
    bytes: int = 20_000_000
    """Most bytes of a request, checked while it is received."""
    pixels: int = 40_000_000
    """Most pixels of an image, or of a drawn PDF page, checked before any is decoded."""
    pages: int = 16
    """Most pages of a request."""
    dpi: int = 150
    """At which PDF pages are drawn; data=folder draws at data.dpi."""
    queue: int = 64
    """Most pages or questions that wait; further ones are refused until there is room."""
    rows: int = 8
    """Most answers generated together."""
    width: int = 4096
    """Most tokens of a prompt, images included, with its answer."""
    tokens: int = 1024
    """Most tokens of an answer; a request may ask for fewer."""
    error: float = 0.05
    """Of the values of a calibrated run, the share of wrong ones among those that are accepted."""
    seconds: float = 120.0
    """After these, a request ends with what there is of its answer."""
    stall_s: float = 60.0
    """Seconds without a step of the engine, while there is work, after which /health and /ready say 503."""
    grace_s: float = 30.0
    """Seconds that what goes on has to end after the service was told to stop."""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"serve.port must lie in [1, 65535], got {self.port}. Set serve.port=8000.")
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(option.default, int | float) and not 0 < value < math.inf:
                raise ValueError(
                    f"serve.{option.name} must be positive, got {value}. Set serve.{option.name}={option.default}."
                )
        check_variable("serve.key", self.key, "MEDVL_KEY")
        if self.error not in WANTED_ERRORS:
            known = ", ".join(f"{error:g}" for error in WANTED_ERRORS)
            raise ValueError(f"serve.error must be one of {known}, got {self.error}. Set serve.error=0.05.")
        if self.pages > self.queue:
            raise ValueError(
                f"serve.pages={self.pages} never fit into a queue of {self.queue}. Set serve.queue={self.pages}."
            )
        if self.tokens >= self.width:
            raise ValueError(
                f"serve.tokens={self.tokens} leaves no room for a prompt in serve.width={self.width}. "
                f"Set serve.width={4 * self.tokens}."
            )
        if not self.name.strip() or not self.name.isprintable():
            raise ValueError("serve.name is empty or cannot be printed. Set serve.name=medvl.")
        if not self.is_local and self.key is None:
            raise ValueError(
                f"serve.host={self.host} answers other machines, and no key is set. "
                "Set serve.key=<an environment variable that holds a key>, or serve.host=127.0.0.1."
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine is answered."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    def secret(self) -> str | None:
        """Return the key.

        Raises:
            ValueError: Its variable is not set, or too short to be one.
        """
        if self.key is None:
            return None
        value = os.environ.get(self.key, "").strip()
        if len(value) < LEAST_KEY:
            what = f"holds fewer than {LEAST_KEY} characters" if value else "is not set"
            raise ValueError(
                f"serve.key={self.key}: this environment variable {what}. "
                f'export {self.key}="$(openssl rand -hex 16)", or set serve.key=null.'
            )
        return value

    def check(self, page_tokens: int) -> None:
        """Refuse to start before the model is loaded.

        Args:
            page_tokens: What the largest page and its prompt take.

        Raises:
            ValueError: A package is missing, the key is not set, the port is taken, or no page fits.
        """
        missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
        if missing:
            raise ValueError(f'medvl serve needs {", ".join(missing)}. pip install -e ".[serve]"')
        if page_tokens + self.tokens > self.width:
            raise ValueError(
                f"serve.width={self.width} cannot hold a page of {page_tokens} tokens with an answer of {self.tokens}. "
                f"Set serve.width={page_tokens + self.tokens}, or model.max_pixels lower."
            )
        self.secret()
        self.bind().close()

    def bind(self) -> socket.socket:
        """Take the port.

        Raises:
            ValueError: It is taken, or the address is not one of this machine.
        """
        host = self.host.strip("[]")
        taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, self.port))
        except (OSError, UnicodeError) as error:
            taken.close()
            raise ValueError(
                f"{self.host}:{self.port} cannot be listened on: {getattr(error, 'strerror', None) or error}. "
                f"Set serve.port={min(self.port + 1, 65535)}, or serve.host=127.0.0.1."
            ) from error
        return taken
