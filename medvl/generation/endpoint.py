"""A server with OpenAI's chat completions: vLLM, llama.cpp or medvl's own. How it is reached, asked and believed."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from medvl.generation.attempts import Attempts, Failed, Refused
from medvl.record.masking import check_variable, masked
from medvl.record.shape import tidy
from medvl.types import Choice

if TYPE_CHECKING:
    from httpx2 import AsyncClient

CONNECT_S = 10
LISTING_S = 60  # for its list of models, and for the end of its loading
PENALISING = ("vllm", "sglang")  # they take a checkpoint's own repetition_penalty unless a request names one
ENDLESS = (*PENALISING, "llamacpp")  # they know how to ignore the end of an answer
EXAMPLE = "engine.url=http://127.0.0.1:8000/v1"


@dataclass(kw_only=True, slots=True)
class Endpoint:
    """Where answers come from: the `engine` config group, beside which `null` is the composition's model."""

    name: ClassVar[str] = "openai"

    url: str | None = None
    """The address that /models and /chat/completions follow, such as http://127.0.0.1:8000/v1."""
    model: str | None = None
    """The model's name there; None: the only one that the server lists."""
    key: str | None = None
    """Name of the environment variable that holds the API key; the key itself would be recorded."""
    concurrency: int = 8
    """Requests in progress at a time."""
    seconds: float = 300
    """Time limit of a request, and for how long a server that is busy or loading is asked again."""
    retries: int = 3
    """How often a request is repeated after a timeout, a lost connection or a fault of the server."""
    logprobs: bool = True
    """Ask for the log-probabilities of the tokens; some servers refuse that."""

    def __post_init__(self) -> None:
        if self.url is None:
            raise ValueError(f"engine=openai asks a server, and none is named. Set {EXAMPLE}, or engine=local.")
        if not _is_address(self.url):
            raise ValueError(f"engine.url={masked(self.url)} is no address of a server. Set {EXAMPLE}.")
        check_variable("engine.key", self.key, "OPENAI_API_KEY")
        for name, least, usual in (("concurrency", 1, 8), ("retries", 0, 3)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"engine.{name} must be at least {least}, got {getattr(self, name)}. Set engine.{name}={usual}."
                )
        if not self.seconds > 0:
            raise ValueError(f"engine.seconds must be positive, got {self.seconds}. Set engine.seconds=300.")

    @property
    def place(self) -> str:
        """Host and port, without a password."""
        return urlsplit(self.url or "").netloc.rpartition("@")[2]

    @property
    def is_here(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url or "").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def check(self) -> None:
        """Refuse a server that is not there, or has not what is asked of it.

        Raises:
            ValueError: The message names the override that fixes it.
        """
        self.served()

    def served(self) -> Served:
        """Ask the server what it serves.

        Raises:
            ValueError: It is not there, wants another key, or `model` is not given and it does not list exactly one.
        """
        return asyncio.run(self._served())

    async def _served(self) -> Served:
        models: list[dict[str, Any]] = []
        async with self.client() as client:
            try:
                told = await Attempts(seconds=min(LISTING_S, self.seconds), retries=0).send(client, "models")
                models = [one for one in told["data"] if isinstance(one.get("id"), str)]
            except (KeyError, TypeError, AttributeError):
                raise self.absent("its list of models is none") from None
            except Failed as error:
                raise self.absent(str(error)) from None
            except Refused as error:
                if self.model is None or error.status not in (404, 405, 501):  # not every server has a list
                    raise self.refusal(error) from None
        names = [tidy(one["id"]) for one in models]
        listed = ", ".join(names[:8]) or "none"
        if self.model is None and len(names) != 1:
            raise ValueError(
                f"{self.place} lists {len(names)} models ({listed}). "
                f"Set engine.model={names[0] if names else '<the name of one>'}."
            )
        model = names[0] if self.model is None else self.model
        owner = next((one.get("owned_by") for one in models if tidy(one["id"]) == model), None)
        by = tidy(owner)[:40] if isinstance(owner, str) else ""
        return Served(model=model, by=by, place=self.place, others=listed if models and model not in names else "")

    def client(self) -> AsyncClient:
        """Return a client of the server. It follows no redirection: pages go nowhere else.

        Raises:
            ValueError: There is no API key where `key` says.
        """
        import httpx2

        headers = {}
        if self.key is not None:
            value = os.environ.get(self.key, "").strip()
            if not value or not value.isascii() or not value.isprintable():
                raise ValueError(
                    f"the environment variable {self.key} holds no API key. Run export {self.key}=<the key>, "
                    "or set engine.key=<the name of another>."
                )
            headers["Authorization"] = f"Bearer {value}"
        return httpx2.AsyncClient(
            base_url=f"{(self.url or '').rstrip('/')}/",
            headers=headers,
            timeout=httpx2.Timeout(None, connect=min(CONNECT_S, self.seconds)),  # the rest is limited as a whole
            limits=httpx2.Limits(max_connections=None),  # whoever asks keeps to `concurrency`
            trust_env=not self.is_here,  # a proxy that the environment names does not know this machine's servers
        )

    def absent(self, why: str) -> ValueError:
        """Return the error for the user about a server that is not there."""
        return ValueError(
            f"no server with OpenAI's interface answers at {self.place} ({why}). Start it, or set {EXAMPLE}."
        )

    def refusal(self, error: Refused) -> ValueError:
        """Return the error for the user about a request that is refused before anything is scored."""
        if error.status in (401, 403):
            what = "wants an API key" if self.key is None else f"does not take the API key in {self.key}"
            mend = "engine.key=<the name of the environment variable that holds it>"
        elif 300 <= error.status < 400:
            what, mend = "sends requests elsewhere", "engine.url=<the address where the server is>"
        elif error.status in (404, 405):
            what = f"has no model {self.model}, or no chat completions there" if self.model else "has no such address"
            mend = f"engine.model=<the name of its model>, or {EXAMPLE}"
        else:
            what = "refuses the request"
            mend = "engine.model=<one that reads images>, engine.logprobs=false or eval.max_new_tokens=<fewer>"
        return ValueError(f"{self.place} {what} ({error}). Set {mend}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a server says of itself."""

    model: str
    by: str
    """Its own name, as vllm or llamacpp; empty if it tells none."""
    place: str
    others: str
    """The models that it lists, if `model` is not one of them."""

    @property
    def request(self) -> dict[str, Any]:
        """The fields of a request for greedy answers without penalties."""
        return {"model": self.model, "temperature": 0} | ({"repetition_penalty": 1.0} if self.penalises else {})

    @property
    def endless(self) -> dict[str, Any]:
        """The fields of a request whose answer ends at its limit only, for timing; none if it is not known how."""
        return {"ignore_eos": True} if self.by in ENDLESS else {}

    @property
    def penalises(self) -> bool:
        return self.by in PENALISING

    def choice(self, concurrency: int) -> Choice:
        """Return the model with all that is known of the server."""
        reason = f"{self.by or 'a server'} at {self.place}; weights, adapter and precision are its own"
        if self.others:
            reason += f"; it lists only {self.others}"
        if self.penalises:
            reason += "; the repetition penalty of its checkpoint is switched off"
        return Choice(self.model, f"{reason}; {concurrency} requests at a time")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port  # raises for one that is no number
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and url.isprintable() and " " not in url
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and plain
