"""What may stand in a request to /v1/chat/completions; what would change the answer unnoticed is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medvl.serving.refusals import Refused

# Answers are generated greedily, so that these do nothing, or only at these values.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "temperature": (0,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "modalities": (["text"],),
}
UNUSED = ("seed", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls")


class TextPart(BaseModel):
    """Words of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(BaseModel):
    """An image."""

    url: str = Field(description="A data URI: data:image/png;base64,...")
    detail: Literal["auto", "high"] | None = Field(None, description="All pages are read at the model's own size")


class ImagePart(BaseModel):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Turn(BaseModel):
    """One message."""

    role: Literal["system", "developer", "user"]
    content: str | list[Part]


class JsonSchema(BaseModel):
    """A schema with its name."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = ""
    content: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """One user turn about one or more pages, perhaps after a system turn."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Turn] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: bool | None = False
    response_format: ResponseFormat | None = None

    def check(self, model: str) -> None:
        """Refuse what this service does not do.

        Raises:
            Refused: Names the parameter.
        """
        if self.model != model:
            raise Refused(404, f"This server has one model: {model}.", "model_not_found", param="model")
        for name, value in (self.model_extra or {}).items():
            if value is None or name in UNUSED or _is_harmless(name, value):
                continue
            shown = "".join(letter for letter in name if letter.isalnum() or letter in "_-.")[:40]
            allowed = f" but for {_listed(HARMLESS[name])}" if name in HARMLESS else ""
            message = f"The parameter {shown} is not supported{allowed}: answers are generated greedily."
            raise Refused(400, message, "unsupported_parameter", param=shown)
        wanted = self.response_format
        if wanted is not None and (wanted.type == "json_schema") != (wanted.json_schema is not None):
            message = "response_format.json_schema goes with response_format.type=json_schema."
            raise Refused(400, message, "bad_field", param="response_format")

    @property
    def tokens(self) -> int | None:
        """Most tokens of the answer, if any were asked for."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def asked(self) -> Asked:
        """Return the one user turn; what a system turn says comes before its text.

        Raises:
            Refused: There are other turns, or no image.
        """
        users = [turn for turn in self.messages if turn.role == "user"]
        if len(users) != 1 or self.messages[-1].role != "user":
            message = "messages must hold one user turn, the last: the model was trained to answer one."
            raise Refused(400, message, "unsupported_turns", param="messages")
        parts = [part for turn in self.messages for part in _parts(turn)]
        system = [part for turn in self.messages[:-1] for part in _parts(turn)]
        if any(isinstance(part, ImagePart) for part in system):
            raise Refused(400, "Images belong into the user turn.", "unsupported_turns", param="messages")
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart)).strip()
        urls = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
        if not urls or not text:
            message = "The user turn needs text and at least one image_url: the model answers about pages."
            raise Refused(400, message, "no_image", param="messages")
        return Asked(text, urls)


@dataclass(frozen=True, slots=True)
class Asked:
    """A user turn: its text and its images, which the model sees first."""

    text: str
    urls: list[str]


def _parts(turn: Turn) -> list[Any]:
    return [TextPart(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content


def _is_harmless(name: str, value: Any) -> bool:
    if name not in HARMLESS:
        return False
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return any(value == allowed and (numeric or type(value) is type(allowed)) for allowed in HARMLESS[name])


def _listed(values: tuple[Any, ...]) -> str:
    return " and ".join(map(str, values))
