"""Hydra's store of schemas."""

from __future__ import annotations

from typing import Any


class SharedSchemas(dict[str, Any]):
    """Contents of Hydra's store that are not copied with it.

    Hydra copies the store once per group that --help lists, 125 times; what it loads from the store it copies anyway.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedSchemas:
        return self
