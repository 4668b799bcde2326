"""Scores of a prediction against its reference, and their sums over a set.

registry    the measures: title, definition, direction
text        what a text says: terms, values, character and word errors, ANLS, short answers
normalize   one spelling for what means the same: units, dates, numbers, frequencies
extraction  facts in their place: a dose counts only with its own drug
scopes      which piece of a text is about which drug
scoring     the measures that apply to one example, their sums over a set, and those as a table
metrics     the sums on one device or many
confidence  how sure a number, or a difference between two runs, is
breakdown   one measure by kind and layout of the page
"""

from __future__ import annotations

from medvl.measures.registry import MEASURES, Measure
from medvl.measures.scoring import score, summarize, summary_table
from medvl.measures.text import terms_in, values_in

__all__ = ["MEASURES", "Measure", "score", "summarize", "summary_table", "terms_in", "values_in"]
