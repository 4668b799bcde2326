"""Ten pages that never change, re-authored after the descriptions of the baseline project's test images.

Invented patients; every number agrees with its neighbours (tests/documents/test_fixed_pages.py recomputes them).
"""

from __future__ import annotations

from medvl.documents.fixed.benchmark import BENCHMARK
from medvl.documents.fixed.evaluation import EVALUATION

__all__ = ["BENCHMARK", "EVALUATION"]
