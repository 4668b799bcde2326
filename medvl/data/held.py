"""Pages that live in memory only, as those of a request: nothing of them is left if the process is killed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


class HeldPages:
    """Pages by name while somebody holds them; safe for threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._pages: dict[str, tuple[Image.Image, int]] = {}
        """With the number of holders."""

    def __reduce__(self) -> tuple[type[HeldPages], tuple[()]]:
        return HeldPages, ()  # another process, as those that prepare data, holds pages of its own

    def __len__(self) -> int:
        return len(self._pages)

    def hold(self, pages: Mapping[str, Image.Image]) -> None:
        """Keep pages, of the size that the model sees, under names as of `name_of`."""
        with self._turn:
            for name, page in pages.items():
                known, holders = self._pages.get(name, (page, 0))
                self._pages[name] = (known, holders + 1)

    def release(self, names: Iterable[str]) -> None:
        """Forget pages that nobody else holds."""
        with self._turn:
            for name in names:
                page, holders = self._pages.pop(name)
                if holders > 1:
                    self._pages[name] = (page, holders - 1)

    def get(self, name: str) -> Image.Image | None:
        return self._pages.get(name, (None, 0))[0]


def name_of(page: Image.Image) -> str:
    """Name a page after its pixels, so that two pages share features only if the model sees the same.

    The pixel budget, the decoder's options and the place in a file are in the pixels.
    """
    return f"memory:{hashlib.sha256(f'{page.mode} {page.size} '.encode() + page.tobytes()).hexdigest()}"
