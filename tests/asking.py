"""Prompts about pages made in a test."""

import copy
import hashlib

import torch

from medvl.data.encoding import Encoder
from medvl.documents.tasks import TRANSCRIBE
from medvl.model.parts import base_of
from medvl.model.processor import budget_pixels
from medvl.types import Example


def about(images, encoder, folder, prompt=TRANSCRIBE):
    """Return an example without an answer about some PIL images, which are saved in a folder."""
    paths = []
    for image in images:
        path = folder / f"{hashlib.sha256(image.tobytes()).hexdigest()[:16]}.png"
        image.save(path)
        paths.append(str(path))
    counts = encoder.counts(prompt, "", [image.size[::-1] for image in images])
    return Example(id=paths[0], document=paths[0], split="test", images=paths, prompt=prompt, response="", **counts)


def within(processor, budget):
    """Return an encoder with another pixel budget, (least, most)."""
    own = copy.deepcopy(processor)
    budget_pixels(own, *budget)
    return Encoder(own)


def attentions(engine, example, ids):
    """All attention to image tokens while `ids` were chosen, (layers, heads, tokens, image tokens), by transformers."""
    base = base_of(engine.model)
    encoded = {name: value.to(engine.device) for name, value in engine.encoder.encode(example, answer=False).items()}
    prompt = encoded["input_ids"]
    whole = torch.cat([prompt, torch.tensor(ids, device=engine.device)])[None]
    before = base.model.language_model.config._attn_implementation
    base.model.language_model.set_attn_implementation("eager")
    base.model.rope_deltas = None
    with torch.no_grad():
        found = base.model(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            mm_token_type_ids=(whole == engine.encoder.image_token).int(),
            pixel_values=encoded["pixel_values"],
            image_grid_thw=encoded["image_grid_thw"],
            output_attentions=True,
        ).attentions
    base.model.language_model.set_attn_implementation(before)
    rows = slice(len(prompt) - 1, len(prompt) + len(ids) - 1)
    images = (prompt == engine.encoder.image_token).nonzero().flatten()
    return torch.stack([layer[0, :, rows][..., images] for layer in found]).cpu().numpy()
