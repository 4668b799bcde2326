"""What the times of answers that were generated together come to, whoever generated them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def timings(
    first_ms: Sequence[float], each_ms: Sequence[float], latency_ms: Sequence[float], tokens: int
) -> dict[str, Any]:
    """Return medians of the times to the first and per later token, latencies of a batch, and the rate.

    Args:
        latency_ms: Of each batch, one after the other.
        tokens: Generated in all of them.
    """
    import numpy as np

    return {
        "first_token_ms": statistics.median(first_ms),
        "each_token_ms": statistics.median(each_ms),
        **{f"latency_p{p}_ms": float(np.percentile(latency_ms, p)) for p in (50, 95, 99)},
        "output_tokens": tokens,
        "output_tokens_per_s": tokens / (sum(latency_ms) / 1e3),
        "samples": {"first_token_ms": first_ms, "each_token_ms": each_ms, "latency_ms": latency_ms},
    }
