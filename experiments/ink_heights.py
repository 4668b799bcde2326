"""How well the height of an x is estimated from the ink of pages, on documents that the estimator was not made on.

python experiments/ink_heights.py
"""

import itertools
import time

import numpy as np
from hydra import compose, initialize

from medvl.data.legibility import look_at
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.mtsamples import MTSamples
from medvl.run.config import register, resolve

FIRST, FORMS, NOTES = 100, 36, 12  # the estimator was made on the first 36 forms and the first 12 notes


def main() -> None:
    documents = [
        *itertools.islice(ClinicalForms(count=FIRST + FORMS).documents(), FIRST, None),
        *itertools.islice(MTSamples().documents(), NOTES, 2 * NOTES),
    ]
    register()
    print("render   pages  no text  median  90 %  over 15 %  largest  s a page")
    for name in ("slip", "letter", "scanned", "fax", "seed"):
        with initialize(version_base="1.3", config_path="../conf"):
            render = resolve(compose("run", [f"render={name}"])).render
        pages = [render.draw(next(iter(render.sheets(one))), f"{at}") for at, one in enumerate(documents)]
        started = time.process_time()
        looks = [(look_at(page.image), page.x_height_px) for page in pages]
        spent = (time.process_time() - started) / len(pages)
        errors = np.array([abs(look.x_height_px / known - 1) for look, known in looks if look is not None])
        print(
            f"{name:8} {len(pages):5}  {len(pages) - len(errors):7}  {np.median(errors):6.1%} "
            f"{np.quantile(errors, 0.9):6.1%}  {(errors > 0.15).sum():9}  {errors.max():7.1%}  {spent:8.2f}"
        )


if __name__ == "__main__":
    main()
