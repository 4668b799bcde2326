"""The attention that chose an answer's tokens is that of transformers, also in a slot that others had before."""

from dataclasses import replace

import numpy as np
from asking import attentions

from medvl.generation.seen import Seen

SCHEMA = {"type": "object", "properties": {"line": {"type": "string"}}, "required": ["line"]}
HEADS = [(5, 1), (0, 3), (5, 0)]


def test_attention_is_that_of_transformers(reader, mixed):
    """One page, questions about one page, two pages; two slots, so that answers move and slots are used again."""
    asked = [mixed[0], mixed[1], mixed[24], mixed[25], mixed[50]]
    averaging, peaking = replace(reader, heads=HEADS), replace(reader, heads="all")
    schemas = [SCHEMA] * len(asked)
    plain = reader.answers(asked, max_new_tokens=40, batch=2, schemas=schemas)
    means = averaging.answers(asked, max_new_tokens=40, batch=2, schemas=schemas)
    peaks = peaking.answers(asked, max_new_tokens=40, batch=2, schemas=schemas)
    layers, heads = (list(one) for one in zip(*HEADS, strict=True))
    for example, without, mean, peak in zip(asked, plain, means, peaks, strict=True):
        assert without.ids == mean.ids == peak.ids and without.seen is None
        seen = len(mean.ids) - mean.closed
        expected = attentions(reader, example, mean.ids[:seen])
        assert mean.seen.attention.shape == expected.shape[2:]
        np.testing.assert_allclose(mean.seen.attention, expected[layers, heads].mean(0), atol=2e-5)
        chosen = np.take_along_axis(expected, peak.seen.peaks[..., None], -1)[..., 0]
        np.testing.assert_allclose(chosen, expected.max(-1), atol=2e-5)
        assert sum(high * wide for high, wide in mean.seen.grids) == expected.shape[-1]


def test_free_answers_are_not_watched(reader, mixed):
    (answer,) = replace(reader, heads="all").answers(mixed[:1], max_new_tokens=4)
    assert answer.seen is None


def test_an_image_token_has_a_place():
    seen = Seen([(2, 3), (1, 4)])
    assert [seen.place(at) for at in (0, 4, 5, 6, 9)] == [(0, 0, 0), (0, 1, 1), (0, 1, 2), (1, 0, 0), (1, 0, 3)]
