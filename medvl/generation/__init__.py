"""Answers from a model: slots of keys and values, packed prefill, one decode step for all rows."""
