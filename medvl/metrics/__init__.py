"""Scores of a prediction against its reference, and their sums over a set.

registry    the metrics: title, definition, direction
text        what a text says: terms, values, character and word errors, ANLS, short answers
spelling    one spelling for characters and units that are only typed differently
dates       one spelling for dates, by the order of day and month of their data set
normalize   one spelling for equivalent expressions: units, dates, numbers, frequencies
extraction  facts in the right place: a dose counts only with its own drug
labels      which label of a text a value stands under
places      where a text must state a fact: under its label, with its list item
scopes      which piece of a text is about which drug
scoring     the metrics that apply to one example, their sums over a set, and those as a table
totals      the sums on one device or many
confidence  intervals for a metric and for the difference between two runs
breakdown   one metric by kind and layout of the page
"""

from __future__ import annotations

from medvl.metrics.registry import METRICS, Metric
from medvl.metrics.scoring import headline, score, summarize, summary_table
from medvl.metrics.text import terms_in, values_in

__all__ = ["METRICS", "Metric", "headline", "score", "summarize", "summary_table", "terms_in", "values_in"]
