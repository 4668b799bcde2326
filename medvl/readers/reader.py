"""A reader: an OCR program that stands where the engine of a model stands."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medvl.data.decoding import open_image
from medvl.geometry import MAX_IMAGE_PIXELS
from medvl.types import Choice, Example

if TYPE_CHECKING:
    from PIL import Image

    from medvl.generation.answer import Answer

log = logging.getLogger(__name__)

TASK = "transcribe"  # all that a reader can do: it follows no instruction


class Unread(Exception):
    """A program gave up on a page."""


@dataclass(kw_only=True, slots=True)
class Reader:
    """An OCR program: the `reader` config group, beside which `null` is the composition's model."""

    name: ClassVar[str]
    concurrent: ClassVar[bool] = False
    """Whether each core reads a page of its own; else a program spreads one page over the cores."""

    def check(self) -> None:
        """Refuse a program that is not installed.

        Raises:
            ValueError: The message names the command that installs it.
        """
        raise NotImplementedError

    def engine(self) -> Choice:
        """Return the program with its version, and the settings that it reads with."""
        raise NotImplementedError

    def read(self, page: Image.Image) -> str:
        """Return the text of a page, line by line.

        Raises:
            Unread: The program gives up.
        """
        raise NotImplementedError

    def readable(self, examples: Sequence[Example]) -> tuple[list[Example], str]:
        """Return the examples that ask for a transcription, and a sentence about the others; empty if there are none.

        Raises:
            ValueError: None is left.
        """
        kept = [example for example in examples if example.task == TASK]
        others = Counter(example.task for example in examples if example.task != TASK)
        names = ", ".join(f"{task} {count}" for task, count in others.most_common())
        if not kept:
            raise ValueError(
                f"reader={self.name} only transcribes pages, and no example of this set asks for that ({names}). "
                "Set reader=model, or eval=transcribed_forms."
            )
        if not others:
            return kept, ""
        return kept, (
            f"{self.name} only transcribes pages: {sum(others.values())} of {len(examples)} examples are left out "
            f"({names}); medvl compare pairs the others with those of a model"
        )


@dataclass(kw_only=True, slots=True)
class ReadingEngine:
    """Answers with what a reader reads."""

    reader: Reader
    max_image_pixels: int = MAX_IMAGE_PIXELS
    """Image files with more pixels are refused."""

    def answers(
        self,
        examples: Sequence[Example],
        *,
        max_new_tokens: int,
        batch: int | None = None,
        tick: Callable[[int], Any] | None = None,
        schemas: Sequence[dict[str, Any] | None] | None = None,
    ) -> list[Answer]:
        """Return the answers in the order of the examples; each distinct page is read once.

        A page that the program gives up on counts as an empty answer, with a warning.

        Args:
            max_new_tokens, batch, schemas: Of a model's engine; a reader ends by itself, reads as many pages as there
                are cores, and is refused where JSON is to follow a schema.
        """
        from medvl.generation.answer import Answer

        pages = list(dict.fromkeys(image for example in examples for image in example.images))
        workers = len(os.sched_getaffinity(0)) if self.reader.concurrent else 1
        texts: dict[str, str | Unread] = {}
        with ThreadPoolExecutor(workers) as pool:
            for image, text in zip(pages, pool.map(self._read, pages), strict=True):
                texts[image] = text
                if tick is not None:
                    tick(sum(example.images[-1] == image for example in examples))
        failed = [text for text in texts.values() if isinstance(text, Unread)]
        if failed:
            log.warning(
                "%s gave up on %d of %d pages, which count as empty: %s",
                self.reader.name,
                len(failed),
                len(pages),
                failed[0],
            )
        answers = []
        for example in examples:
            read = [texts[image] for image in example.images]
            reason = "failed" if any(isinstance(text, Unread) for text in read) else "stop"
            said = "\n".join(text for text in read if isinstance(text, str))
            answers.append(Answer(text=said, ids=[], finish_reason=reason, log_probabilities=[]))
        return answers

    def _read(self, image: str) -> str | Unread:
        try:
            return self.reader.read(open_image(image, self.max_image_pixels)).strip()
        except Unread as error:
            return error
