"""How many answers go on together: as many as the memory holds, and what happens if it holds fewer than thought."""

import logging

import pytest
import torch

from medvl.generation import engine
from medvl.generation.decoder import Decoder
from medvl.generation.engine import GIB, MOST, Engine
from medvl.generation.slots import Slots, slot_bytes
from medvl.model.parts import base_of


@pytest.fixture(scope="module")
def expected(reader, mixed):
    return [one.ids for one in reader.answers(mixed[:8], max_new_tokens=10, batch=4)]


def answered(reader, mixed, **options):
    return [one.ids for one in reader.answers(mixed[:8], max_new_tokens=10, **options)]


def test_the_number_is_chosen_with_its_reason(reader, mixed, expected, monkeypatch):
    assert answered(reader, mixed) == expected
    assert str(reader.said["answers together"]) == "8 (all of them)"
    assert answered(reader, mixed, batch=3) == expected
    assert str(reader.said["answers together"]) == "3 (as configured)"
    monkeypatch.setitem(MOST, "cpu", 5)
    assert answered(reader, mixed) == expected
    assert str(reader.said["answers together"]) == "5 (more gain nothing on a CPU)"


def test_no_more_slots_than_the_memory_holds(reader, mixed, expected, monkeypatch):
    width = max(one.tokens - one.answer_tokens for one in mixed[:8]) + 10
    each = slot_bytes(base_of(reader.model).config.text_config, width, torch.float32)
    held = reader._held_bytes()
    monkeypatch.setattr(Engine, "_free", lambda self: held + 3.5 * each)
    assert answered(reader, mixed) == expected
    together = reader.said["answers together"]
    assert together.value == 3
    assert (
        together.reason == f"keys and values of one take {each / GIB:.2f} of {3.5 * each / GIB:.1f} GiB that are free"
    )


def test_slots_that_do_not_fit_are_halved(reader, mixed, expected, monkeypatch):
    tried = []

    def make(text, rows, *more):
        tried.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("simulated")
        return Slots(text, rows, *more)

    monkeypatch.setattr(engine, "Slots", make)
    assert answered(reader, mixed) == expected and tried == [8, 4, 2]
    assert str(reader.said["answers together"]) == "2 (the memory did not hold 4)"


def test_a_single_slot_that_does_not_fit_is_an_error(reader, mixed, monkeypatch):
    def make(*given):
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(engine, "Slots", make)
    with pytest.raises(torch.OutOfMemoryError):
        answered(reader, mixed)


def test_a_prefill_that_does_not_fit_is_split(reader, mixed, expected, monkeypatch, caplog):
    taken, together = Decoder.prefill, []

    def fails(decoder, batch, rows):
        together.append(len(rows))
        if together[-1] > 2:
            raise torch.OutOfMemoryError("simulated")
        return taken(decoder, batch, rows)

    monkeypatch.setattr(Decoder, "prefill", fails)
    with caplog.at_level(logging.WARNING):
        assert answered(reader, mixed) == expected
    assert together[0] == 8 and together[-1] <= 2 and sum(count for count in together if count <= 2) == 8
    assert "the memory does not hold a prefill of 8 prompts" in caplog.text


def test_a_composition_may_name_a_number_as_recorded_ones_do(compose):
    assert compose().eval.batch is None and compose("eval.batch=24").eval.batch == 24
    with pytest.raises(ValueError, match=r"eval\.batch must be positive"):
        compose("eval.batch=0")
