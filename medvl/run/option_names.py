"""What a data set's errors call its options: data.path= for the training data, eval.data.path= for the evaluation's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def of(place: str) -> Iterator[None]:
    """Let errors name the options of the data set of `eval` or `replay`."""
    try:
        yield
    except ValueError as error:
        told = re.sub(r"(?<![\w.@])data\.(?=[a-z_]+[= ])", f"{place}.data.", str(error))
        told = re.sub(r"(?<![\w.@])data=(?=\w)", f"data@{place}.data=", told)
        raise ValueError(told) from error
