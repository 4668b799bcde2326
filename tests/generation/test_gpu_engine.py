"""On a GPU: captured steps, held and decoded 4-bit values, and refilled slots agree with transformers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from asking import about, attentions
from PIL import Image

from medvl.documents.reading import Stage, drawn
from medvl.generation import reference
from medvl.generation.engine import Engine
from medvl.generation.front import Front
from medvl.generation.grammar import Constraint
from medvl.generation.ticket import Ticket
from medvl.hardware.plan import Hardware
from medvl.model import attention
from medvl.model.loading import Model
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision, Storage

pytestmark = pytest.mark.gpu
NATS = 0.25  # of one log-probability of nano in bf16: its logits reach 30, where a rounding is 0.125
ROWS = 6


@pytest.fixture(scope="module")
def engines(encoder):
    """Return a function that builds the shipped nano with adapters in a precision."""

    def build(storage, compute, *, dora=False, **options):
        hardware = Hardware()
        precision = Precision(storage=Storage[storage], compute=Compute[compute], **options)
        plan = hardware.plan(compute=compute, storage=storage, attention=attention.choose)
        loaded = Model().load(precision, hardware, plan)
        torch.manual_seed(1)
        model = Lora(r=8, dora=dora).apply(loaded.model)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        return Engine(model=model, encoder=encoder, precision=precision)

    return build


@pytest.fixture(scope="module")
def asked(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    stages = [Stage(plain=0.5, prose=0.5, height_px=56 + 28 * (number % 4)) for number in range(20)]
    pages = [Image.fromarray(drawn(stage, f"gpu/{number}", None).pixels) for number, stage in enumerate(stages)]
    questions = (
        "What is the dose?",
        "List every value with its unit, one a line.",
    )  # they continue their page's prompt
    return [
        *(about([page], encoder, folder) for page in pages),
        *(about([page], encoder, folder, text) for page in pages[:4] for text in questions),
    ]


def answered(engine, asked, rows, *, nan=False):
    with engine.session(rows=rows, width=1024) as session:
        if nan:
            session.slots.keys.fill_(torch.nan)
            session.slots.values.fill_(torch.nan)
        tickets = [session.submit(Ticket(one, 40)) for one in asked]
        while session.busy:
            session.step()
    return tickets


def test_a_session_leaves_no_memory_behind(engines, asked):
    """First in this file, as torch keeps the stack of its first compilation."""
    engine = engines("nf4", "bf16")
    engine.answers(asked[:3], max_new_tokens=8, batch=3)
    before = torch.cuda.memory_allocated()
    with engine.session(rows=ROWS, width=4096) as session:
        held = session.slots.keys.nbytes
        assert torch.cuda.memory_allocated() - before >= 2 * held
    del session
    assert torch.cuda.memory_allocated() - before < held / 2


def test_in_fp32_the_answers_are_those_of_transformers(engines, asked, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    engine = engines("fp32", "fp32")
    said = [ticket.ids for ticket in answered(engine, asked, ROWS)]
    for ids, one in zip(said, asked, strict=True):
        encoded = [engine.encoder.encode(one, answer=False)]
        (row,) = reference.generate(engine.model, engine.encoder, engine.precision, encoded, max_new_tokens=40)
        assert row[: len(ids)] == ids


def test_a_front_answers_from_its_own_thread(engines, asked, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    engine = engines("fp32", "fp32")
    said = [ticket.ids for ticket in answered(engine, asked, ROWS)]
    with Front(engine, rows=ROWS, width=1024) as front:
        streams = [front.submit(one, 40) for one in asked]
        assert [stream.result(300).ids for stream in streams] == said
    assert engine.said["captured"].value, engine.said


def forced(engine, ticket):
    """Return transformers' log-probabilities of the tokens that the ticket chose, each behind those before it."""
    inputs = reference._pad(engine.encoder, [engine.encoder.encode(ticket.example, answer=False)])
    said = torch.tensor([ticket.ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], said], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == engine.encoder.image_token).int()
    with torch.no_grad(), engine.precision.autocast(engine.device):
        logits = engine.model(**{name: value.to(engine.device) for name, value in inputs.items()}).logits
    logits = logits[0, -len(ticket.ids) - 1 : -1].float().log_softmax(-1)
    return logits.gather(1, said[0, :, None].to(engine.device))[:, 0].cpu()


@pytest.mark.parametrize(
    ("storage", "dora"), [("nf4", False), ("bf16", False), ("int8", False), ("nf4", True), ("bf16", True)]
)
def test_log_probabilities_are_as_near_to_exact_ones_as_those_of_transformers(engines, asked, storage, dora):
    """Teacher-forced, in bf16: the error against the same weights in fp32 is at most half more than transformers'."""
    engine, exact = engines(storage, "bf16", dora=dora), engines(storage, "fp32", dora=dora)
    for rows in (1, ROWS):
        ours, theirs = [], []
        for ticket in answered(engine, asked, rows):
            truth = forced(exact, ticket)
            ours.append((torch.tensor(ticket.log_probabilities) - truth).abs())
            theirs.append((forced(engine, ticket) - truth).abs())
        assert engine.said["captured"].value == (storage != "int8"), engine.said
        errors = [torch.cat(one).mean().item() for one in (ours, theirs)]
        print(f"{storage}, {rows} rows: mean error {errors[0]:.5f} nats, transformers' {errors[1]:.5f}")
        assert errors[0] < max(1.5 * errors[1], 1e-3)


@pytest.mark.parametrize("storage", ["nf4", "bf16"])
def test_captured_steps_are_the_eager_ones(engines, asked, storage):
    engine = engines(storage, "bf16")
    for rows in (1, ROWS):
        captured = answered(engine, asked, rows)
        assert engine.said["captured"].value, engine.said
        engine.captures = False
        eager = answered(engine, asked, rows)
        engine.captures = True
        assert [one.ids for one in captured] == [one.ids for one in eager]
        assert [one.log_probabilities for one in captured] == [one.log_probabilities for one in eager]


@pytest.mark.parametrize("captures", [True, False])
def test_answers_that_follow_a_grammar_are_those_computed_token_by_token(engines, asked, monkeypatch, captures):
    text = {"type": ["string", "null"]}
    item = {"type": "object", "properties": {"dose": text, "unit": text}, "additionalProperties": False}
    parts = {"name": text, "items": {"type": "array", "items": item, "maxItems": 3}}
    schema = {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    engine = engines("nf4", "bf16")
    engine.captures = captures
    schemas = [schema if at % 3 else None for at in range(len(asked))]
    free = answered(engine, asked, ROWS)
    answers = engine.answers(asked, max_new_tokens=48, batch=ROWS, schemas=schemas)
    with monkeypatch.context() as patch:
        patch.setattr(Constraint, "forced", lambda self: [])
        alone = engine.answers(asked[1:3], max_new_tokens=48, batch=1, schemas=schemas[1:3])
    for one, without, kept in zip(answers, free, schemas, strict=True):
        if kept is None:
            same = min(len(one.ids), len(without.ids))
            assert one.ids[:same] == without.ids[:same]
        else:
            assert list(json.loads(one.text)) == ["name", "items"] and any(one.forced)
    for one, other in zip(answers[1:3], alone, strict=True):
        assert one.text == other.text


def test_what_lay_in_a_slot_leaks_nothing(engines, asked):
    engine = engines("nf4", "bf16")
    clean, dirty = answered(engine, asked, ROWS), answered(engine, asked, ROWS, nan=True)
    assert [one.log_probabilities for one in clean] == [one.log_probabilities for one in dirty]


def test_a_batch_answers_as_its_rows_alone(engines, asked):
    """In bf16 a tie may fall to another token; up to there the log-probabilities agree."""
    engine = engines("bf16", "bf16")
    for together, alone in zip(answered(engine, asked, ROWS), answered(engine, asked, 1), strict=True):
        same = next(
            (at for at, pair in enumerate(zip(together.ids, alone.ids, strict=False)) if pair[0] != pair[1]),
            min(len(together.ids), len(alone.ids)),
        )
        first, second = (torch.tensor(one.log_probabilities[:same]) for one in (together, alone))
        assert same > 0
        torch.testing.assert_close(first, second, atol=NATS, rtol=0)


def test_the_attention_that_chose_a_value_is_that_of_transformers(engines, asked, monkeypatch):
    """Of a mean over heads and of every head's peak, while steps are captured and slots are used again."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    engine = engines("fp32", "fp32")
    heads = [(5, 1), (0, 3), (5, 0)]
    schema = {"type": "object", "properties": {"line": {"type": "string"}}, "required": ["line"]}
    settings = {"max_new_tokens": 40, "batch": 3, "schemas": [schema] * 8}
    means = replace(engine, heads=heads).answers(asked[:8], **settings)
    peaks = replace(engine, heads="all").answers(asked[:8], **settings)
    layers, which = (list(one) for one in zip(*heads, strict=True))
    for example, mean, peak in zip(asked, means, peaks, strict=False):
        expected = attentions(engine, example, mean.ids[: len(mean.ids) - mean.closed])
        np.testing.assert_allclose(mean.seen.attention, expected[layers, which].mean(0), atol=5e-5)
        assert mean.ids == peak.ids
        chosen = np.take_along_axis(expected, peak.seen.peaks[..., None], -1)[..., 0]
        np.testing.assert_allclose(chosen, expected.max(-1), atol=5e-5)
