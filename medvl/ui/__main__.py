"""Starts the page: python -m medvl.ui --url http://127.0.0.1:8000."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import re
import signal
import sys
import tempfile
from urllib.parse import urlsplit

LEAST_KEY = 16  # characters
MOST_UPLOAD = "64mb"  # of one file: keeps the disk from filling up; the service has limits of its own
LOCAL = ["localhost", "127.0.0.1", "[::1]"]
USER = "medvl"
# Scripts, styles and pictures of this page only: neither Gradio nor a text on a page can make a browser ask elsewhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; "
    "form-action 'self'"
)


def options(words: list[str]) -> argparse.Namespace:
    """Read and check the command line.

    Raises:
        ValueError: Something of it cannot be.
    """
    parser = argparse.ArgumentParser(prog="python -m medvl.ui", description="A page for people over medvl serve.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service")
    parser.add_argument("--key", metavar="NAME", help="environment variable that holds the service's key")
    parser.add_argument("--base-url", help="a second service, of the base model, for comparison")
    parser.add_argument("--base-key", metavar="NAME", help="environment variable that holds its key")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; another one needs --login")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--login", metavar="NAME", help=f"environment variable: the password of the user {USER}")
    found = parser.parse_args(words)
    for option in ("url", "base_url"):
        _check_url(option.replace("_", "-"), getattr(found, option))
    if not 1 <= found.port <= 65535:
        raise ValueError(f"--port must lie in [1, 65535], got {found.port}. Set --port 7860.")
    for option in ("key", "base_key", "login"):
        setattr(found, option, _secret(option.replace("_", "-"), getattr(found, option)))
    if not _is_local(found.host) and found.login is None:
        raise ValueError(
            f"--host {found.host} answers other machines, which then use the service with its key. "
            "Set --login <an environment variable that holds a password>, or --host 127.0.0.1."
        )
    return found


def _check_url(option: str, url: str | None) -> None:
    parts = urlsplit(url or "http://127.0.0.1")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"--{option} is not the address of a service. Set --{option} http://127.0.0.1:8000.")
    if parts.password or parts.username:
        raise ValueError(f"--{option} holds a password. Set --key <an environment variable that holds the key>.")


def _secret(option: str, name: str | None) -> str | None:
    if name is None:
        return None
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):  # perhaps the secret itself: it is not repeated
        raise ValueError(f"--{option} takes an environment variable's name, in capitals. Set --{option} MEDVL_KEY.")
    value = os.environ.get(name, "").strip()
    if len(value) < LEAST_KEY:
        what = f"holds fewer than {LEAST_KEY} characters" if value else "is not set"
        raise ValueError(f'--{option} {name}: this variable {what}. export {name}="$(openssl rand -hex 16)"')
    return value


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def prepare(folder: str) -> None:
    """Set what Gradio reads from the environment when it is imported.

    Args:
        folder: For uploads, which it would keep in a folder shared by all its pages.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # so that none shares the page, or opens a path
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}


def serve(found: argparse.Namespace) -> None:
    """Answer browsers until a signal comes."""
    from starlette.middleware import Middleware

    from medvl.ui.client import Service
    from medvl.ui.guard import Guard
    from medvl.ui.page import STYLE, THEME, page

    base = None if found.base_url is None else Service(found.base_url, found.base_key)
    hosts = None if found.login else [*LOCAL, found.host]
    print(f"http://{found.host}:{found.port} shows {found.url}", flush=True)
    page(Service(found.url, found.key), base).launch(
        server_name=found.host,
        server_port=found.port,
        auth=None if found.login is None else (USER, found.login),
        app_kwargs={"middleware": [Middleware(Guard, hosts=hosts, policy=POLICY)]},
        max_file_size=MOST_UPLOAD,
        css_paths=STYLE,
        theme=THEME,
        share=False,
        quiet=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
    )


def main() -> None:
    try:
        found = options(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
    # Gradio ends tidily on Ctrl-C only, and the folder of uploads is to be deleted whatever ends it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="medvl-ui-") as folder:
        prepare(folder)
        try:
            serve(found)
        except OSError:  # Gradio's own message names a variable that is ignored here
            place = f"{found.host}:{found.port}"
            sys.exit(f"error: {place} cannot be listened on. Set --port {min(found.port + 1, 65535)}.")


if __name__ == "__main__":
    main()
