"""Prompts about pages made in a test."""

import hashlib

from medvl.documents.tasks import TRANSCRIBE
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
