"""A GGUF export answers through a llama.cpp of this machine, which is asked as any server is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medvl.export.formats import Format
from medvl.generation.endpoint import Endpoint
from medvl.generation.llama_cpp import GgufModel, LlamaCpp
from medvl.generation.remote import RemoteEngine

if TYPE_CHECKING:
    from medvl.run.config import RunConfig
    from medvl.run.context import RunContext

SECONDS = 1800  # of a request: a page of a large model on a CPU
ANSWER_TOKENS = 2048  # room for an answer beside the longest prompt


def answers_by_llama(config: RunConfig) -> bool:
    """Whether the artefact of a composition is one that llama.cpp reads."""
    return config.artefact.is_export and Format[config.artefact.name].gguf_kind is not None


def served_export(context: RunContext) -> RemoteEngine:
    """Start a llama.cpp on the export of a run, which ends with the run, and return what asks it.

    Raises:
        ValueError: There is no llama.cpp here, or it does not take the export.
    """
    assert context.exported is not None
    return context.until_end.enter_context(serving(context, context.exported))


@contextlib.contextmanager
def serving(context: RunContext, folder: Path) -> Iterator[RemoteEngine]:
    """Serve a GGUF export, one request at a time, and yield what asks for its answers.

    Raises:
        ValueError: As for `served_export`.
    """
    from medvl.export.gguf_files import MODEL, PROJECTOR
    from medvl.run.loading import encoder_of

    config, llama = context.config, LlamaCpp.find()
    model = GgufModel(
        model=folder / MODEL,
        projector=folder / PROJECTOR,
        name="medvl",
        min_pixels=config.model.min_pixels,
        max_pixels=config.model.max_pixels,
        context=context_tokens(config),
    )
    with llama.serve(model) as url:
        endpoint = Endpoint(url=url, concurrency=1, seconds=SECONDS, logprobs=llama.tells_probabilities)
        yield RemoteEngine(endpoint=endpoint, served=endpoint.served(), encoder=encoder_of(config.model))


def context_tokens(config: RunConfig) -> int:
    """Return the tokens of the longest prompt that is scored, and of its answer."""
    asked = config.batch.tokens if config.eval.data is None else config.eval.tokens
    return asked + max(ANSWER_TOKENS, config.eval.max_new_tokens or 0)
