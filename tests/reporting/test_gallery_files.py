"""A report shows pages of its runs, and no other file that a run directory names."""

import pytest
from PIL import Image

from medvl.reporting.gallery import page_file, picture

NAME = "0123456789abcdef01234567.png"


@pytest.fixture
def folder(tmp_path):
    """A run, a cache of pages, and a private image that must not be shown."""
    for name in ("run/pictures", "cache/pages", "private/pages"):
        (tmp_path / name).mkdir(parents=True)
    image = Image.new("RGB", (30, 20), "red")
    for name in (f"cache/pages/{NAME}", "run/pictures/own.png", "private/scan.png", "private/pages/scan.png"):
        image.save(tmp_path / name)
    (tmp_path / "run" / "link.png").symlink_to(tmp_path / "private" / "scan.png")
    (tmp_path / "cache" / "pages" / NAME.replace("0", "f")).symlink_to(tmp_path / "private" / "scan.png")
    return tmp_path


def test_pages_of_the_cache_and_files_of_the_run_are_shown(folder):
    for name in (f"{folder}/cache/pages/{NAME}", "pictures/own.png", f"{folder}/run/pictures/own.png"):
        uri, size = picture(page_file(folder / "run", name))
        assert uri.startswith("data:image/png;base64,") and size == (30, 20)


@pytest.mark.parametrize(
    "name",
    [
        "private/scan.png",
        "private/pages/scan.png",
        "run/link.png",
        f"cache/pages/{NAME.replace('0', 'f')}",
        f"cache/pages/{NAME.replace('0', '1')}",
        "run/../private/scan.png",
        "run",
    ],
)
def test_other_files_are_not_shown(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    assert page_file(folder / "run", str(folder / name)) is None
    assert page_file(folder / "run", "private/scan.png") is None
    assert page_file(folder / "run", "/dev/zero") is None


@pytest.mark.parametrize("content", [b"", b"notes of a patient", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_of_the_run_that_is_no_image_is_not_shown(folder, content):
    (folder / "run" / "page.png").write_bytes(content)
    assert picture(page_file(folder / "run", "page.png")) == ("", (0, 0))


def test_pages_in_grey_and_colour(folder):
    for mode, colour in (("L", 99), ("RGB", "red"), ("1", 1), ("RGBA", (9, 9, 9, 0))):
        Image.new(mode, (1000, 500), colour).save(folder / "run" / "page.png")
        uri, size = picture(folder / "run" / "page.png")
        assert uri and size == (760, 380)
