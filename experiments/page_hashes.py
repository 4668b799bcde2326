"""Which perceptual hash tells two scans of a page from two pages: shares of differing bits.

python experiments/page_hashes.py        on a CPU, four minutes; the table is in experiments/LOG.md
"""

import itertools
import random

import numpy as np
from PIL import Image
from scipy.fft import dctn

from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.render import Render
from medvl.documents.scan import Scan
from medvl.types import Document, Heading, Pairs, Text

LETTER = {"width_pt": 612, "height_pt": 792, "dpi": 150, "font_pt": 10, "line_pt": 12, "margin_pt": 36}
OFFICE = {
    "rotation_deg": 0.7,
    "blur": 0.5,
    "noise": 6,
    "jpeg": 0.3,
    "light": 0.2,
    "fold": 0.2,
    "stamp": 0.4,
    "specks": 0.5,
}
CONSENT = (
    "I consent to examination and treatment by the clinicians of this practice. No guarantee has been made as to the "
    "result. I authorise the release of information that is needed to process a claim for payment. I have read the "
    "notice of privacy practices and was given the chance to ask questions about it before signing."
)


def main() -> None:
    forms, notes = list(ClinicalForms(count=144).read()), list(MTSamples().read())
    template = [filled_in(number) for number in range(30)]
    print("pages           hash         two scans: median, most    two pages: least, 1 %, median")
    for name, documents, size in (
        ("forms, letter", forms, LETTER),
        ("notes, letter", notes, LETTER),
        ("forms, slip", forms, {}),
        ("one template", template, LETTER),
    ):
        scan = Render(**size, scan=Scan(**OFFICE))
        sheets = [next(scan.sheets(document)) for document in documents]
        scans = [[scan.draw(sheet, f"{at}/{copy}").image for copy in range(2)] for at, sheet in enumerate(sheets)]
        for title, hashed in HASHES.items():
            row = [f"{figure:.3f}" for figure in spread([[hashed(image) for image in pair] for pair in scans])]
            print(f"{name:<16}{title:<13}{row[0]:>12}, {row[1]}{row[2]:>20}, {row[3]}, {row[4]}")


def filled_in(number: int) -> Document:
    """A form of one template, with values of its own."""
    rng = random.Random(number)
    blocks = [Heading("INTAKE FORM", level=1)]
    for group in (("Patient", "Record", "Visit"), ("Heart rate", "Weight", "Height"), ("Glucose", "Sodium", "Calcium")):
        blocks += [Text(CONSENT), Pairs([(name, str(rng.randint(10, 10**6))) for name in group], columns=3)]
    return Document(id="one font", blocks=blocks)


def reduced(image: Image.Image, width: int, height: int) -> np.ndarray:
    return np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX), np.float64)


def differences(image: Image.Image, side: int) -> np.ndarray:
    small = reduced(image, side + 1, side)
    return (small[:, 1:] > small[:, :-1]).ravel()


def frequencies(image: Image.Image, side: int) -> np.ndarray:
    low = dctn(reduced(image, 4 * side, 4 * side), norm="ortho")[:side, :side].ravel()[1:]
    return low > np.median(low)


HASHES = {
    f"{name} {side}": lambda image, hashed=hashed, side=side: hashed(image, side)
    for name, hashed in (("dHash", differences), ("pHash", frequencies))
    for side in (8, 16, 24)
}


def spread(hashes: list[list[np.ndarray]]) -> list[float]:
    same = [np.mean(one != two) for one, two in hashes]
    others = [np.mean(one[0] != two[1]) for one, two in itertools.permutations(hashes, 2)]
    return [float(np.median(same)), max(same), *map(float, np.quantile(others, [0, 0.01, 0.5]))]


if __name__ == "__main__":
    main()
