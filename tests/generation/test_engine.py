"""The engine answers as transformers does, token for token in fp32, however its slots are filled."""

from dataclasses import replace

import pytest
import torch

from medvl.data.packing import pack
from medvl.evaluation.evaluation import Ablation, ablated
from medvl.generation import reference
from medvl.generation.decoder import Decoder
from medvl.generation.engine import Engine
from medvl.generation.ticket import Ticket, repeats
from medvl.geometry import positions
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision, Storage
from medvl.training.loss import answer_states
from medvl.types import IGNORE, Choice

FP32 = Precision(storage=Storage.fp32, compute=Compute.fp32)


def expected(engine, asked, most):
    """Return what transformers answers to each prompt by itself, up to the end of its turn."""
    rows = []
    for one in asked:
        encoded = [engine.encoder.encode(one, answer=False)]
        (row,) = reference.generate(engine.model, engine.encoder, FP32, encoded, max_new_tokens=most)
        end = next((at for at, token in enumerate(row) if token in engine.encoder.ends), len(row))
        rows.append(row[: end + 1])
    return rows


def test_answers_are_those_of_transformers(reader, mixed):
    answers = reader.answers(mixed, max_new_tokens=40, batch=7)
    assert [answer.ids for answer in answers] == expected(reader, mixed, 40)
    reasons = {answer.finish_reason for answer in answers}
    assert reasons == {"stop", "length"} and len({len(answer.ids) for answer in answers}) > 5
    assert all(len(one.log_probabilities) == len(one.ids) and max(one.log_probabilities) <= 0 for one in answers)


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"rslora": True, "merger": True}], ids=["lora", "dora", "rs"])
@pytest.mark.parametrize("storage", ["fp32", "nf4"])
def test_adapters_answer_as_in_transformers(load_nano, encoder, mixed, storage, options):
    """Decoded, stacked and merged products, and layers that compute by peft's own code."""
    model, _, precision = load_nano(storage, resident=False) if storage == "nf4" else load_nano(storage)
    model = Lora(r=4, **options).apply(model)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    engine = Engine(model=model, encoder=encoder, precision=precision)
    with engine.session(rows=1, width=64) as session:
        groups = [group for layer in session.decoder.layers for group in layer.groups]
        assert all(group.plain for group in groups)  # so that a GPU captures them
        assert any(group.lengths for group in groups) == options.get("dora", False)
    asked = mixed[::12]
    said = [answer.ids for answer in engine.answers(asked, max_new_tokens=12, batch=3)]
    assert said == expected(engine, asked, 12)
    assert not any("forward" in vars(module) for module in engine.model.modules())


def test_decoding_follows_the_packed_forward(load_nano, encoder, mixed):
    """Keys kept from prefill and the training forward pass predict the same tokens, with the same probability."""
    model = load_nano()[0]
    engine = Engine(model=model, encoder=encoder, precision=FP32)
    with engine.session(rows=2, width=1024, endless=True) as answering:
        tickets = [answering.submit(Ticket(one, 12)) for one in mixed[:3]]
        while answering.busy:
            answering.step()
    for ticket in tickets:
        prompt, said = encoder.encode(ticket.example, answer=False), torch.tensor(ticket.ids)
        assert len(said) == 12
        ids = torch.cat([prompt["input_ids"], said])
        labels = torch.cat([torch.full_like(prompt["input_ids"], IGNORE), said])
        whole = {**prompt, "input_ids": ids, "labels": labels}
        whole["positions"] = positions(ids == encoder.image_token, prompt["image_grid_thw"])
        with torch.no_grad():
            logits = model.lm_head(answer_states(model, pack([whole]))[0])
        logits[:, encoder.ends] = -torch.inf  # which `endless` forbids
        assert torch.equal(logits.argmax(-1), said)
        log_probabilities = logits.log_softmax(-1).gather(1, said[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(ticket.log_probabilities), log_probabilities, atol=1e-4, rtol=1e-3)


def test_what_lay_in_a_slot_leaks_nothing(reader, mixed):
    with reader.session(rows=2, width=2048) as answering:
        answering.slots.keys.fill_(torch.nan)
        answering.slots.values.fill_(torch.nan)
        tickets = [answering.submit(Ticket(one, 20)) for one in mixed[:6]]
        while answering.busy:
            answering.step()
    assert [ticket.ids for ticket in tickets] == expected(reader, mixed[:6], 20)


def test_a_cancelled_answer_frees_its_slot_and_disturbs_no_other(reader, mixed):
    with reader.session(rows=2, width=2048) as answering:
        first, second, third = (answering.submit(Ticket(one, 20)) for one in mixed[:3])
        answering.step()
        first.cancel()
        assert answering.step() == [first]
        assert answering.rows == [second, third] and len(first.ids) == 2
        third.cancel()
        waiting = answering.submit(Ticket(mixed[3], 20))
        waiting.cancel()
        ended = []
        while answering.busy:
            ended += answering.step()
    assert set(ended) == {second, third, waiting} and waiting.ids == []
    assert (second.ids == expected(reader, mixed[1:2], 20)[0] and second.finish_reason == "stop") or len(
        second.ids
    ) == 20
    assert not +answering.uses and not answering.features


def test_steps_that_are_read_late_and_slots_that_wait_to_be_refilled_change_no_answer(reader, mixed):
    """As on a GPU: the next step begins before the last one is read, and several prompts share a prefill."""
    right = [answer.ids for answer in reader.answers(mixed[:20], max_new_tokens=20, batch=7)]
    with reader.session(rows=7, width=2048) as answering:
        answering.reads_late, answering.refill = True, 3
        tickets = [answering.submit(Ticket(one, 20)) for one in mixed[:20]]
        taken, ended = [], []
        while answering.busy:
            before = len(answering.waiting)
            ended += answering.step()
            taken.append(before - len(answering.waiting))
    assert [ticket.ids for ticket in tickets] == right and len(ended) == 20 == len(set(ended))
    assert all(len(ticket.ids) == len(ticket.log_probabilities) for ticket in tickets)
    assert taken[0] == 7 and all(count >= 3 for count in taken[1:-1] if count and count != taken[-1])


def test_a_loop_ends_the_answer(load_nano, encoder, mixed, monkeypatch):
    monkeypatch.setattr("medvl.generation.ticket.REPEATED", 32)
    model = load_nano()[0]
    model.lm_head.weight.data.zero_()  # every token is as probable as the first
    answer, *_ = Engine(model=model, encoder=encoder, precision=FP32).answers(mixed[:2], max_new_tokens=90, batch=2)
    assert answer.finish_reason == "repetition" and len(answer.ids) == 32 and not answer.finished


def test_short_answers_and_variety_are_no_loop():
    assert not repeats([7] * 199) and not repeats([*range(51)] * 8)
    assert repeats([1, 2, *([*range(50)] * 4)])


def test_several_questions_see_their_page_once(reader, mixed, monkeypatch):
    shown = []
    see = reader.encoder.patches
    monkeypatch.setattr(reader.encoder, "patches", lambda image: shown.append(image) or see(image))
    asked = [one for one in mixed if one.images == mixed[0].images]
    assert len(asked) == 4
    reader.answers(asked, max_new_tokens=3, batch=1)
    assert shown == mixed[0].images


def test_questions_about_one_page_continue_its_prompt(reader, mixed, monkeypatch):
    """Together, one after the other in other slots, and after an answer has moved: the same tokens as alone."""
    begun = []
    take_over = Decoder.prefill
    monkeypatch.setattr(
        Decoder, "prefill", lambda self, batch, rows: begun.append(len(rows)) or take_over(self, batch, rows)
    )
    pages = [one for one in mixed if one.images in (mixed[0].images, mixed[1].images, mixed[-1].images)]
    asked = [*pages, *(replace(one, prompt=f"{one.prompt} Read every line.", tokens=one.tokens + 20) for one in pages)]
    assert len(asked) == 18 and len({tuple(one.images) for one in asked}) == 3
    alone = expected(reader, asked, 12)
    for batch in (18, 5, 2):
        begun.clear()
        said = reader.answers(asked, max_new_tokens=12, batch=batch)
        assert [answer.ids for answer in said] == alone
        assert sum(begun) < len(asked) and (batch < 18 or sum(begun) == 3)


def test_another_page_of_another_size_fits_its_slot(reader, mixed):
    """The shuffled ablation: a short prompt may get a larger page, or two."""
    swapped = ablated([mixed[0], mixed[-1], mixed[3]], Ablation.shuffled, None)
    for one in swapped:
        assert one.tokens - one.answer_tokens == len(reader.encoder.encode(one, answer=False)["input_ids"])
    assert len(reader.answers(swapped, max_new_tokens=2, batch=3)) == 3


def test_a_prompt_longer_than_its_slot_is_refused(reader, mixed):
    with reader.session(rows=1, width=64) as answering:
        answering.submit(Ticket(mixed[0], 64))
        with pytest.raises(ValueError, match="tokens exceed a slot of 64"):
            answering.step()


def test_weights_on_another_device_are_left_to_transformers(reader, mixed, monkeypatch):
    asked = mixed[:3]
    ours = reader.answers(asked, max_new_tokens=8, batch=2)
    monkeypatch.setattr(Engine, "obstacle", lambda self: "the weights lie on 2 devices")
    done = []
    theirs = reader.answers(asked, max_new_tokens=8, batch=2, tick=done.append)
    assert [one.ids for one in theirs] == [one.ids for one in ours] and sum(done) == 3
    assert [one.finish_reason for one in theirs] == [one.finish_reason for one in ours]


def test_weights_on_two_devices_are_an_obstacle(load_nano, encoder):
    model = load_nano()[0]
    engine = Engine(model=model, encoder=encoder, precision=FP32)
    assert engine.obstacle() == ""
    model.model.visual.to("meta")
    assert engine.obstacle() == "the weights lie on 2 devices"


def test_what_multiplies_one_row_is_said_with_its_reason(reader):
    """Of all groups the slowest; nothing is said without 4-bit weights on a GPU."""
    with reader.session(rows=1, width=64) as answering:
        decoder = answering.decoder
        assert set(decoder.choices) == {"captured"}
        for layer in decoder.layers:
            for group in layer.groups:
                group.one_row = Choice("own product", "codes in registers")
        assert decoder.choices["one row"].value == "own product"
        decoder.layers[1].inner.one_row = Choice("bitsandbytes", "blocks of 128 values")
        assert str(decoder.choices["one row"]) == "bitsandbytes (blocks of 128 values)"
