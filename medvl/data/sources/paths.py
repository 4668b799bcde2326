"""Files that data name: regular ones inside of the data's folder, read up to a size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

IMAGE_BYTES = 2**26  # maximum of one encoded image
MOST_IMAGES, RECORD_BYTES = 64, 2**27  # of a record
HEAD_BYTES = 16  # of a file, enough for `is_image`
# The formats of medvl.data.decoding. Encoders of TIFF and BigTIFF, and of JPEG 2000 alone and in a file, differ.
_HEAD = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM|II[*+]\0|MM\0[*+]|RIFF....WEBP|P[1-6]\s"
    rb"|\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
    re.DOTALL,
)


class ImageMissing(Exception):
    """An image is not found or cannot be read; the text becomes the reason in prepared.json."""


def inside(root: Path, name: str | Path) -> Path | None:
    """Return the regular file of this name, with links resolved.

    Args:
        root: Folder to which a relative name refers.
        name: A path (not a text) that begins with the root as it is given refers to the working directory instead.

    Returns:
        None if the file lies outside of the root after links are followed, is missing, or is a folder, a device or
        a pipe.
    """
    try:
        listed = isinstance(name, Path) and name.is_relative_to(root)
        path = Path(name) if listed else root / name
        if not path.is_file():
            return None
        path = path.resolve()
        return path if belongs(path, root) else None
    except (OSError, ValueError, RuntimeError):  # a null byte, a name that is too long, links in a circle
        return None


def belongs(path: Path, root: Path) -> bool:
    """Whether a resolved path lies in a folder, or is a file of the hub's cache that a snapshot there links to."""
    top = root.resolve()
    hub = next((folder.parent for folder in top.parents if folder.name == "snapshots"), None)
    return path.is_relative_to(top) or (hub is not None and path.is_relative_to(hub / "blobs"))


def files_inside(root: Path) -> Iterator[Path]:
    """Yield the regular files below a folder as it names them, or the root itself if it is a file.

    Links to files and folders outside of the root are not followed, and every folder is read once. Folders that
    cannot be read are left out.
    """
    if root.is_file():
        yield root
        return
    top, pending, seen = root.resolve(), [root], set()
    while pending:
        folder = pending.pop()
        try:
            real = folder.resolve()
            if real in seen or not real.is_relative_to(top):
                continue
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except (OSError, RuntimeError):
            continue
        seen.add(real)
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink() and path.is_dir():
                pending.insert(0, path)  # last: a folder is read under its own name if it has one inside
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=False) or (entry.is_symlink() and inside(root, path)):
                yield path


def stamps(root: Path, files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return (path from the root, size in bytes, time of change in ns) of the files that can be read, in order.

    A file outside of the root, a blob of the hub's cache, has its name for a path.
    """
    found = set()
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # deleted meanwhile
            continue
        name = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        found.add((name.as_posix(), stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def is_image(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an image in a format that is decoded here."""
    return _HEAD.match(head) is not None


def image_at(root: Path, name: str, missing: str = "no image") -> bytes:
    """Return the bytes of an image file inside of a folder.

    Args:
        missing: Reason if there is no such file.

    Raises:
        ImageMissing: There is none, it lies outside of the folder, is not an image, or is too large.
    """
    path = inside(root, name)
    if path is None:
        raise ImageMissing("its image lies outside of the data folder" if _leads_out(root, name) else missing)
    try:
        with path.open("rb") as file:
            content = file.read(HEAD_BYTES)
            if content and not is_image(content):
                raise ImageMissing("the file that it names is not an image")
            content += file.read(IMAGE_BYTES + 1 - len(content))
    except OSError as error:
        raise ImageMissing(missing) from error
    if len(content) > IMAGE_BYTES:
        raise ImageMissing("its image is too large")
    if not content:
        raise ImageMissing(missing)
    return content


def _leads_out(root: Path, name: str) -> bool:
    try:
        return not belongs((root.resolve() / name).resolve(), root)
    except (OSError, ValueError, RuntimeError):
        return False
