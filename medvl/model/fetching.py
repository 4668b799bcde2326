"""`medvl download`: the files of a base from the hub, with its licence and size told first and every hash checked."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvl.hardware.plan import GIB
from medvl.record.errors import first_line

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.jinja")
CHUNK = 2**20
SPARE = 2**30  # bytes left free on the disk


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file as the hub describes it."""

    name: str
    bytes: int
    sha256: str | None
    """Of large files."""
    blob: str | None
    """The hash by which git names the content; of small files."""


@dataclass(kw_only=True)
class Offer:
    """One version of a base on the hub."""

    repository: str
    revision: str
    """The commit."""
    licence: str
    gated: bool
    files: list[Wanted]
    missing: int
    """Bytes that are not in the cache yet."""
    cache: Path
    """The hub's cache on this machine."""
    endpoint: str | None = None

    def __str__(self) -> str:
        total = sum(one.bytes for one in self.files)
        free = shutil.disk_usage(_existing(self.cache)).free
        ask = "; its owner must grant access: see its page and log in by `hf auth login`" if self.gated else ""
        return (
            f"{self.repository} at {self.revision[:12]}: licence {self.licence}{ask}\n"
            f"{len(self.files)} files, {total / GIB:.2f} GiB; {self.missing / GIB:.2f} GiB to download "
            f"to {self.cache}, {free / GIB:.1f} GiB are free there"
        )

    def check_room(self) -> None:
        """Refuse a download that does not fit.

        Raises:
            ValueError: Names what is needed and what is free.
        """
        free = shutil.disk_usage(_existing(self.cache)).free
        if self.missing and self.missing + SPARE > free:
            raise ValueError(
                f"{self.repository} needs {(self.missing + SPARE) / GIB:.1f} GiB, {free / GIB:.1f} GiB are free in "
                f"{self.cache}. Set HF_HUB_CACHE=<a folder on another disk>."
            )

    def fetch(self) -> Path:
        """Download what is missing, going on with files that were cut off; check every file; return the folder.

        A file whose content is not the hub's is downloaded once more.

        Raises:
            ValueError: The hub cannot be reached, or a file is damaged again.
        """
        from huggingface_hub import hf_hub_download, snapshot_download

        options: Any = {"revision": self.revision, "cache_dir": self.cache, "endpoint": self.endpoint}
        try:
            folder = Path(snapshot_download(self.repository, allow_patterns=list(PATTERNS), **options))
            for one in self.files:
                if fault(folder / one.name, one) is None:
                    continue
                (folder / one.name).resolve().unlink(missing_ok=True)
                hf_hub_download(self.repository, one.name, force_download=True, **options)
        except Exception as error:  # of the library that the hub's own uses, which differ by version
            raise ValueError(
                f"{self.repository} was not downloaded: {first_line(error)}. Run the same command again; it goes on."
            ) from error
        for one in self.files:
            if (why := fault(folder / one.name, one)) is not None:
                raise ValueError(f"{folder / one.name} is damaged: {why}. Check the disk, and run the command again.")
        return folder

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Return the record of a download."""
        files = {one.name: {"bytes": one.bytes, "sha256": one.sha256, "git": one.blob} for one in self.files}
        facts = {"repository": self.repository, "revision": self.revision, "licence": self.licence}
        return {**facts, "folder": str(folder), "verified": True, "files": files}


def offer(repository: str, revision: str | None, cache: Path | None = None, endpoint: str | None = None) -> Offer:
    """Ask the hub what a download would bring.

    Args:
        cache: None: the hub's own.
        endpoint: None: the hub's own.

    Raises:
        ValueError: The hub cannot be reached, or has no such model.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    try:
        info = HfApi(endpoint=endpoint).model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:
        raise ValueError(
            f"the hub does not tell of {repository}: {first_line(error)}. Go where it can be reached, or set "
            "model.path=<a folder that holds the weights>."
        ) from error
    place = Path(constants.HF_HUB_CACHE) if cache is None else cache
    files = [
        Wanted(
            name=one.rfilename,
            bytes=one.size or 0,
            sha256=one.lfs.sha256 if one.lfs is not None else None,
            blob=one.blob_id if one.lfs is None else None,
        )
        for one in info.siblings or []
        if any(fnmatch.fnmatch(one.rfilename, pattern) for pattern in PATTERNS)
    ]
    commit = str(info.sha)
    here = {one.name: try_to_load_from_cache(repository, one.name, cache_dir=place, revision=commit) for one in files}
    missing = sum(one.bytes for one in files if not isinstance(here[one.name], str))
    card = info.card_data.to_dict() if info.card_data is not None else {}
    licence = card.get("license_name") or card.get("license") or "not stated"
    link = f" ({card['license_link']})" if card.get("license_link") else ""
    return Offer(
        repository=repository,
        revision=commit,
        licence=f"{licence}{link}",
        gated=bool(info.gated),
        files=files,
        missing=missing,
        cache=place,
        endpoint=endpoint,
    )


def fault(path: Path, wanted: Wanted) -> str | None:
    """Return what is wrong with a downloaded file; None if it is what the hub has."""
    if not path.is_file():
        return "it is not there"
    size = path.stat().st_size
    if wanted.bytes and size != wanted.bytes:
        return f"it has {size} of {wanted.bytes} bytes"
    if wanted.sha256 is None and wanted.blob is None:
        return None
    known = hashlib.sha256() if wanted.sha256 is not None else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            known.update(block)
    return None if known.hexdigest() == (wanted.sha256 or wanted.blob) else "its hash is not that of the hub"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if os.path.isdir(place))
