"""Generic records: what is asked about them stands on the page, in any typeface, however worn."""

import hashlib
import json
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from medvl.data.sources.reading_pages import ReadingPages
from medvl.documents.reading import Stage, drawn
from medvl.documents.scan import Scan
from medvl.documents.tasks import TRANSCRIBE
from medvl.documents.typefaces import typefaces_in
from medvl.documents.worn import worn

RECORDS = Stage(height_px=224, width_px=336, records=1.0, plain=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("typefaces")
    shutil.copy(Path(matplotlib.get_data_path(), "fonts/ttf/STIXGeneral.ttf"), made / "one.ttf")
    shutil.copy(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSerif-Bold.ttf"), made / "two.ttf")
    rows = [
        {"name": "one", "regular": "one.ttf", "bold": None},
        {"name": "two", "regular": "two.ttf", "bold": "two.ttf"},
    ]
    (made / "typefaces.json").write_text(json.dumps(rows))
    return str(made)


def leaves(content):
    if isinstance(content, dict | list):
        return [leaf for part in (content.values() if isinstance(content, dict) else content) for leaf in leaves(part)]
    return [content]


def keys(content):
    if isinstance(content, list):
        return [keys(content[0])] if content and isinstance(content[0], dict) else [""]
    return {key: keys(value) for key, value in content.items()} if isinstance(content, dict) else ""


def test_every_answer_stands_on_its_page():
    tasks = {"transcribe": 0, "json": 0, "others": 0}
    for number in range(300):
        page = drawn(RECORDS, f"records/{number}")
        flat = " ".join(page.text.split())
        if page.prompt == TRANSCRIBE:
            tasks["transcribe"] += 1
            assert page.response == page.text
        elif page.response.startswith("{"):
            tasks["json"] += 1
            said = json.loads(page.response)
            assert all(value in flat for value in leaves(said)), (page.text, page.response)
            if not any(isinstance(value, list) for value in said.values()):  # a list shows all keys of its entries
                assert json.dumps(keys(said)) in page.prompt
        else:
            tasks["others"] += 1
            assert page.response and all(line in flat for line in page.response.split("\n"))
    assert min(tasks.values()) > 50, tasks


def test_other_typefaces_set_most_pages_in_many_sizes(folder):
    others = typefaces_in(folder)
    pages = [drawn(RECORDS, f"faces/{number}", None, others) for number in range(60)]
    names = [page.font.name for page in pages]
    assert {"one", "two"} <= set(names) and 0.5 < sum(name in ("one", "two") for name in names) / len(names) < 0.95
    again = drawn(RECORDS, "faces/1", None, others)
    assert np.array_equal(again.pixels, pages[1].pixels) and again.response == pages[1].response
    lines = [len(page.text.split("\n")) for page in pages]
    assert min(lines) <= 4 and max(lines) >= 12  # large type and small type


def test_pages_of_the_kinds_that_trained_the_weights_stay_as_they_were():
    """The hash was taken before there were records and other typefaces."""
    said = hashlib.sha256()
    for number in range(40):
        page = drawn(Stage(prose=0.3, statements=0.3, apart=0.5), f"kept/{number}")
        said.update(f"{page.text}\0{page.prompt}\0{page.response}\0".encode())
    assert said.hexdigest()[:16] == "1ca7e3140a69c458"


def test_worn_strokes_stay_darker_than_their_paper():
    from random import Random

    page = Image.fromarray(drawn(RECORDS, "worn").pixels).point(lambda grey: 255 if grey > 128 else 0)
    black = np.asarray(page) == 0
    changed = 0
    for number in range(60):
        made = np.asarray(worn(page, Random(number)))
        assert made[~black].mean() - made[black].mean() > 45
        changed += not np.array_equal(made, np.asarray(page))
    assert 20 < changed < 58


def test_no_page_is_longer_than_the_bound(folder):
    source = ReadingPages(typefaces=folder, stages=[RECORDS], scanned=0.0)
    pages = [source.page(0, f"long/{number}") for number in range(200)]
    tokens = [len((page.prompt + page.response).encode()) + page.pixels.size // 28**2 for page in pages]  # of nano
    assert source.longest / 8 < max(tokens) < source.longest


def test_typefaces_that_cannot_be_had_are_refused_by_name(tmp_path, folder):
    with pytest.raises(ValueError, match=r"data\.typefaces=.*no list of typefaces.*gather_typefaces"):
        ReadingPages(typefaces=str(tmp_path))
    (tmp_path / "typefaces.json").write_text('[{"name": "a", "regular": "a.ttf", "bold": null}]')
    with pytest.raises(ValueError, match=r"a\.ttf is missing"):
        ReadingPages(typefaces=str(tmp_path))
    (tmp_path / "typefaces.json").write_text("[]")
    with pytest.raises(ValueError, match="the list is empty"):
        ReadingPages(typefaces=str(tmp_path / "."))
    source = ReadingPages(typefaces=folder, stages=[RECORDS], scanned=1.0, scans=[Scan(fax=1.0)])
    assert source.content() != ReadingPages(stages=[RECORDS]).content()
    bilevel = [len(np.unique(source.page(0, f"scan/{number}").pixels)) <= 4 for number in range(20)]
    assert any(bilevel) and not all(bilevel)  # as often as the other way, which leaves greys
