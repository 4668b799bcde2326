"""Prompts about pages made in a test."""

import copy
import hashlib

from medvl.data.encoding import Encoder
from medvl.documents.tasks import TRANSCRIBE
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
