"""Ready images that look alike, so that a second scan of a page is not in another split.

A perceptual hash: the signs of the lowest 24 x 24 frequencies of an image, reduced to 96 x 96 px, against their median
(as the pHash of 8 x 8, https://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html). Measured by
experiments/page_hashes.py: two scans of a page differ in at most 19 % of the bits, two different pages in at least
24 %. With 8 x 8 two scans differ in up to 29 % and two pages from 3 % on; a hash of differences fails wholly. Scans of
forms that are printed from one template and filled in differently mostly lie at 5 to 11 %, as near as two scans of one
page: they cannot be told apart.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import UnreadableImage, open_image
from medvl.data.pages import PageFolder
from medvl.data.ready_images import ReadyImages
from medvl.record.signals import leave_to_parent
from medvl.types import Document, PageOf

if TYPE_CHECKING:
    import numpy as np

SIDE = 24  # frequencies each way
ALIKE = 0.20  # share of differing bits up to which two pages count as scans of one
MOST = 4  # documents that are scans of one page; more are forms of one template
_REDUCED_PX = 4 * SIDE
_FLAT = 2.0  # standard deviation in grey levels; an image with less shows nothing
_ROWS = 512  # compared at once
_NEIGHBOURS = 64  # of an image that are listed; one with more is a form of a template in any case


def look(image: bytes | str | PageOf, pages: PageFolder) -> np.ndarray | None:
    """Return the hash of an image, (SIDE^2 - 1,) bool; None if it is unreadable, small or of one colour.

    The page of a PDF is drawn and stored in `pages`.
    """
    import numpy as np
    from PIL import Image
    from scipy.fft import dctn

    ready = ReadyImages(pages)
    try:
        if isinstance(image, PageOf):
            decoded = ready.pixels(ready.look(image))
        else:
            decoded = open_image(image, pages.max_image_pixels, least_px=_REDUCED_PX, grey=True)
    except UnreadableImage:  # dropped later, with its reason
        return None
    if min(decoded.size) < _REDUCED_PX:
        return None
    small = np.asarray(decoded.convert("L").resize((_REDUCED_PX, _REDUCED_PX), Image.Resampling.BOX), np.float64)
    if small.std() < _FLAT:
        return None
    low = dctn(small, norm="ortho")[:SIDE, :SIDE].ravel()[1:]
    return low > np.median(low)


def look_alikes(documents: Sequence[Document], pages: PageFolder, workers: int) -> tuple[list[tuple[int, int]], int]:
    """Return the pairs of documents that hold scans of one page, by index, the earlier one first.

    Documents whose text is known are compared by it instead.

    Returns:
        The pairs, and the number of documents that look like so many others that they must be forms of one template:
        they are in no pair.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    paths = [
        (at, image)
        for at, document in enumerate(documents)
        if not document.text
        for image in document.images
        if not isinstance(image, bytes)  # which cannot be decoded
    ]
    seen = [(at, one) for (at, _), one in zip(paths, _looks(paths, pages, workers), strict=True) if one is not None]
    if not seen:
        return [], 0
    near = _near(np.array([at for at, _ in seen]), np.stack([one for _, one in seen]))
    links = coo_array((np.ones(len(near)), near.T), shape=(len(documents), len(documents)))
    _, names = connected_components(links, directed=False)
    few = np.bincount(names) <= min(MOST, len(documents) // 3)
    pairs = near[few[names[near[:, 0]]]]
    return [(int(one), int(other)) for one, other in pairs], int(np.unique(near).size - np.unique(pairs).size)


def _looks(paths: list[tuple[int, Any]], pages: PageFolder, workers: int) -> Iterator[np.ndarray | None]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if workers < 2 or len(paths) < 256:  # starting processes costs seconds
        yield from (look(path, pages) for _, path in paths)
        return
    context = multiprocessing.get_context("spawn")  # not forked: the parent already runs torch's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=leave_to_parent) as pool:
        yield from pool.map(functools.partial(look, pages=pages), [path for _, path in paths], chunksize=16)


def _near(owners: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return the pairs of documents of which an image is near one of the other, (N, 2), the earlier one first.

    Args:
        owners: Index of the document of each image, (I,).
        hashes: Of the images, (I, SIDE^2 - 1) bool.
    """
    import numpy as np

    signs = np.where(hashes, np.float32(1), np.float32(-1))
    nearest = signs.shape[1] * (1 - 2 * ALIKE)  # the product of two hashes: equal bits less differing ones
    found = [np.empty((0, 2), np.int64)]
    for begin in range(0, len(signs), _ROWS):
        near = signs[begin : begin + _ROWS] @ signs.T >= nearest
        near &= np.arange(len(signs)) > np.arange(begin, begin + len(near))[:, None]
        crowded = near.sum(1) > _NEIGHBOURS
        near[crowded] &= near[crowded].cumsum(1) <= _NEIGHBOURS
        rows, others = np.nonzero(near)
        found.append(np.stack([owners[begin + rows], owners[others]], 1))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
