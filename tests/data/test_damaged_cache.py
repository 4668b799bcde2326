"""A cache of prepared data that a power cut has damaged is made anew; a full disk or a wrong folder is told early."""

import errno
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from medvl.data.decoding import open_image
from medvl.data.export import check_export, export
from medvl.data.features import FeatureCache
from medvl.data.pages import PageFolder, is_damaged
from medvl.data.prepare import prepare
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.render import Render


@pytest.fixture
def run(encoder, tmp_path):
    return lambda: prepare(MTSamples(limit=4), Render(), encoder, budget=2048, cache=tmp_path, workers=1, bar=False)


def nul_in_the_middle(path):
    data = path.read_bytes()
    path.write_bytes(data[:300] + b"\0" * 600 + data[900:])


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def one_less(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def no_objects(path):
    path.write_text("[1]\n[2]\n")


def no_account(path):
    path.with_name("prepared.json").write_text("[]")


def other_objects(path):
    path.write_text('{"images": 3}\n' * len(path.read_text().splitlines()))


def nul(path):
    path.write_bytes(bytes(path.stat().st_size))


def page_of(path):
    return min((path.parents[2] / "pages").glob("*.png"))


def emptied_page(path):
    page_of(path).write_bytes(b"")


def nul_page(path):
    nul(page_of(path))


def nul_start_of_page(path):
    data = page_of(path).read_bytes()
    page_of(path).write_bytes(bytes(4096) + data[4096:])


def nul_end_of_page(path):
    data = page_of(path).read_bytes()
    page_of(path).write_bytes(data[:-4096] + bytes(4096))


def cut_page(path):
    cut(page_of(path))


@pytest.mark.parametrize(
    "harm",
    [
        *(nul_in_the_middle, cut, one_less, no_objects, no_account, other_objects, Path.unlink),
        *(emptied_page, nul_page, nul_start_of_page, nul_end_of_page, cut_page),
    ],
)
def test_a_damaged_cache_is_made_anew(run, tmp_path, harm):
    first = run()
    (path,) = tmp_path.glob("prepared/*/examples.jsonl")
    whole = path.read_bytes()
    harm(path)
    assert run() == first and path.read_bytes() == whole
    assert all(open_image(page) for page in (tmp_path / "pages").glob("*.png"))


@pytest.mark.parametrize("harm", [nul, cut, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_a_damaged_stored_image_is_noticed_and_stored_again(tmp_path, form, harm):
    encoded = io.BytesIO()
    Image.new("RGB", (90, 90)).save(encoded, form)
    data = encoded.getvalue() + bytes(20)  # padded, as some cameras do
    pages = PageFolder(Render(), tmp_path)
    path = Path(pages.spill(data))
    assert not is_damaged(path)
    harm(path)
    assert is_damaged(path) or harm is cut  # what is cut off may look whole until it is compared
    assert Path(pages.spill(data)) == path and path.read_bytes() == data


def nul_tensors(path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:start] + bytes(len(data) - start))


def no_checksum(path):
    save_file(load_file(path), path)


@pytest.mark.parametrize("harm", [nul_tensors, nul, no_checksum])
def test_damaged_vision_features_are_made_again(tmp_path, caplog, harm):
    cache, features, grid = FeatureCache(tmp_path), torch.ones(4, 8, dtype=torch.bfloat16), torch.tensor([[1, 4, 4]])
    cache.keep(["key"], features, grid)
    (path,) = tmp_path.rglob("*.safetensors")
    harm(path)
    assert cache.read("key") is None and "key.safetensors is made again" in caplog.text
    cache.keep(["key"], features, grid)
    found = cache.read("key")
    assert torch.equal(found["features"], features) and torch.equal(found["grid"], grid[0])


def test_an_export_is_refused_before_anything_is_rendered(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder"):
        check_export(tmp_path / "file")
    with pytest.raises(OSError) as error:
        check_export(tmp_path / "file" / "out")
    assert error.value.errno == errno.ENOTDIR
    check_export(tmp_path / "new/out")
    assert [path.name for path in (tmp_path / "new/out").rglob("*")] == ["images"]


def test_an_export_on_a_full_disk_leaves_no_half_files(run, tmp_path, monkeypatch):
    prepared, folder, written = run(), tmp_path / "out", []
    replace = Path.replace

    def until_full(self, target):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "replace", until_full)
        export(prepared, folder)
    assert all(path.stat().st_size and not path.name.startswith(".") for path in (folder / "images").iterdir())
    assert sum(export(prepared, folder).values()) == sum(prepared.account["examples"].values())
