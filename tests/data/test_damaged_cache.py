"""A cache of prepared data that a power cut has damaged is made anew; a full disk or a wrong folder is told early."""

import errno
from pathlib import Path

import pytest

from medvl.data.export import check_export, export
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


def emptied_page(path):
    next((path.parents[2] / "pages").glob("*.png")).write_bytes(b"")


@pytest.mark.parametrize(
    "harm", [nul_in_the_middle, cut, one_less, no_objects, no_account, other_objects, emptied_page, Path.unlink]
)
def test_a_damaged_cache_is_made_anew(run, tmp_path, harm):
    first = run()
    (path,) = tmp_path.glob("prepared/*/examples.jsonl")
    whole = path.read_bytes()
    harm(path)
    assert run() == first and path.read_bytes() == whole
    assert all(page.stat().st_size for page in (tmp_path / "pages").iterdir())


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
