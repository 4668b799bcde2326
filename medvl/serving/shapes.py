"""The bodies of answers: what a generated client knows of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ProblemBody(BaseModel):
    """The body of every error."""

    error: Problem


class Usage(BaseModel):
    """Tokens, images included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class PageText(BaseModel):
    """One page of a request."""

    file: int = Field(description="Number of its file in the request, from 1 on")
    page: int = Field(description="Its number in that file, from 1 on")
    text: str | None = Field(
        None, description="What stands on it; null if fields were asked for and confidence needs no text"
    )
    finish_reason: str | None = Field(None, description="Of its text: stop, length, repetition or deadline")


class Evidence(BaseModel):
    """Where the model looked for a value."""

    file: int = Field(description="As of pages")
    page: int = Field(description="As of pages")
    box: list[float] = Field(description="Left, top, right, bottom; 0 to 1 of the page's width and height")


class FieldValue(BaseModel):
    """One value of the fields, and what the model's probabilities say about it."""

    path: str = Field(description="Keys and positions: drugs.0.dose")
    value: str | None = Field(description="null: the page does not have it")
    confidence: float | None = Field(description="Probability of being right; null if uncalibrated or not stated")
    accepted: bool | None = Field(description="Whether it is sure enough for serve.error; null if that cannot be told")
    log_probability: float = Field(description="Sum over its tokens, in nats, as if there was no schema")
    least: float = Field(description="The lowest of them")
    mass: float = Field(description="The lowest probability of all tokens that the schema allowed")
    evidence: Evidence | None = Field(None, description="null: it stands nowhere, or that cannot be told")
    cut: bool = Field(description="Whether the answer was cut off within it")
    tokens: int = Field(description="Those that were chosen, not forced by the schema")


class Extraction(BaseModel):
    """The text of every page, or the fields of a schema."""

    id: str
    model: str
    pages: list[PageText]
    fields: dict[str, Any] | None = Field(None, description="After the schema; null says that a page does not have it")
    values: list[FieldValue] | None = Field(None, description="Of the fields, in their order")
    calibration: str | None = Field(None, description="What the confidences were fitted on, or uncalibrated")
    pointing: float | None = Field(None, description="How often evidence lay on its value on held-out pages")
    finish_reason: str = Field(description="stop if the fields, or all texts, are whole; else what ended them")
    usage: Usage


class Analysis(BaseModel):
    """The answer to a question about all pages."""

    id: str
    model: str
    pages: int
    text: str
    finish_reason: str = Field(description="stop, length, repetition or deadline")
    usage: Usage


class Alive(BaseModel):
    """Whether the process and its engine work."""

    status: str = Field(description="loading, ready, stopping or stalled")


class Records(BaseModel):
    """What was measured of the model that is served."""

    run: str
    status: dict[str, Any]
    metrics: dict[str, Any] | None
    benchmark: dict[str, Any] | None
    calibration: dict[str, Any] | None = Field(None, description="Of confidences: measures, and thresholds by error")
    evidence: dict[str, Any] | None = Field(None, description="Of places: the heads that tell them, and measures")


class ModelCard(BaseModel):
    """A model, as OpenAI's API lists it."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "medvl"


class ModelList(BaseModel):
    """All models: the one that is served."""

    object: str = "list"
    data: list[ModelCard]


class TokenLogprob(BaseModel):
    """One token of an answer."""

    token: str
    bytes: list[int]
    logprob: float = Field(description="In nats")
    top_logprobs: list[Any] = []


class Logprobs(BaseModel):
    """All tokens of an answer."""

    content: list[TokenLogprob]
    refusal: None = None


class Message(BaseModel):
    """The assistant's turn."""

    role: str = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """The one answer."""

    index: int = 0
    message: Message
    logprobs: Logprobs | None = None
    finish_reason: str = Field(description="stop or length")
    stop_reason: str | None = Field(None, description="repetition or deadline, where that was it")


class ChatCompletion(BaseModel):
    """An answer, as OpenAI's API has it."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
