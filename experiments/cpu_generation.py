"""What generation on a CPU gains by shared prompts, by DoRA as a factor, and by more answers together.

python experiments/cpu_generation.py        nano in fp32 on one core, seconds of CPU time, medians of three turns
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from medvl.data.encoding import Encoder
from medvl.data.packing import pack
from medvl.documents.reading import Stage, drawn
from medvl.documents.tasks import TRANSCRIBE
from medvl.generation import projections, session
from medvl.generation.engine import Engine
from medvl.hardware.plan import Device, Hardware
from medvl.model import attention
from medvl.model.loading import Model
from medvl.model.lora import Lora
from medvl.model.precision import Compute, Precision, Storage
from medvl.types import Example

FP32 = Precision(storage=Storage.fp32, compute=Compute.fp32)
QUESTIONS = [TRANSCRIBE, *(f"What stands in line {number} of this page?" for number in range(1, 8))]
TURNS = 3


def engine(adapter: Lora | None = None) -> Engine:
    hardware = Hardware(device=Device.cpu)
    loaded = Model().load(FP32, hardware, hardware.plan(compute="fp32", storage="fp32", attention=attention.choose))
    model = loaded.model.requires_grad_(False) if adapter is None else adapter.apply(loaded.model)
    return Engine(model=model, encoder=Encoder(loaded.processor), precision=FP32)


def slips(count: int, folder: Path) -> list[Path]:
    """Draw pages of 28 to 112 px height, as nano's evaluation has them."""
    paths = []
    for number in range(count):
        page = drawn(Stage(plain=0.5, prose=0.5, height_px=28 * (1 + number % 4)), f"cpu/{number}", None)
        paths.append(folder / f"{number}.png")
        Image.fromarray(page.pixels).save(paths[-1])
    return paths


def asked(answering: Engine, pages: list[Path], prompts: list[str]) -> list[Example]:
    found = []
    for page in pages:
        with Image.open(page) as image:
            size_px = image.size[::-1]
        for prompt in prompts:
            counts = answering.encoder.counts(prompt, "", [size_px])
            name = f"{page.stem}/{prompt}"
            found.append(
                Example(id=name, document=name, split="test", images=[str(page)], prompt=prompt, response="", **counts)
            )
    return found


def seconds(answering: Engine, examples: list[Example], **options: Any) -> tuple[float, list[list[int]]]:
    """Return the median CPU time of the answers, and their tokens."""
    times = []
    for _ in range(TURNS):
        started = time.process_time()
        answers = answering.answers(examples, **options)
        times.append(time.process_time() - started)
    return statistics.median(times), [answer.ids for answer in answers]


def compare(name: str, answering: Engine, examples: list[Example], module: Any, attribute: str, old: Any) -> None:
    """Time answers with a part of the engine replaced by what it was, and as it is."""
    new = getattr(module, attribute)
    setattr(module, attribute, old)
    before, ids = seconds(answering, examples, max_new_tokens=32, batch=24)
    setattr(module, attribute, new)
    after, same = seconds(answering, examples, max_new_tokens=32, batch=24)
    print(f"{name}: {before:.2f} -> {after:.2f} s, {'the same' if ids == same else 'other'} tokens", flush=True)


def each_alone(decoder: Any, pages: Any, encoded: Any, rows: Any, held: Any) -> None:
    decoder.prefill(pack(encoded), rows)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        pages = slips(72, Path(place))
        bare = engine()
        compare("8 questions on 6 slips", bare, asked(bare, pages[:6], QUESTIONS), session, "take_over", each_alone)
        large = [Path(place) / f"large{number}.png" for number in range(2)]
        for path, page in zip(large, pages[2:4], strict=True):  # 1,248 tokens
            Image.open(page).resize((924, 1064)).save(path)
        compare("8 questions on 2 large pages", bare, asked(bare, large, QUESTIONS), session, "take_over", each_alone)

        dora = engine(Lora(r=8, dora=True))
        plain: Callable[[Any], bool] = projections._plain

        def only_lora(module: Any) -> bool:
            return plain(module) and not getattr(module, "lora_variant", None)

        compare("24 answers with DoRA", dora, asked(dora, pages[:24], [TRANSCRIBE]), projections, "_plain", only_lora)
        for together in (4, 8, 12, 24, 48):
            spent, ids = seconds(bare, asked(bare, pages, [TRANSCRIBE]), max_new_tokens=200, batch=together)
            print(f"72 pages, {together} together: {spent:.1f} s, {sum(map(len, ids)):,} tokens", flush=True)


if __name__ == "__main__":
    main()
