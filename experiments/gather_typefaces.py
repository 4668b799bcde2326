"""Gather typefaces to pretrain nano with, from Debian's packages: python experiments/gather_typefaces.py OUT [--held-out OUT2]

Wants apt-get and dpkg-deb, and fonttools in the environment. Each family goes into OUT with its Latin letters only, regular and
bold; OUT/typefaces.json says from which package it is and under which licences. Twenty families, chosen by the hash of their
names, go to --held-out instead, and are for scoring alone. Rendered pixels enter a model's weights, typefaces do not.
"""

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

LETTERS = [*range(0x20, 0x7F), *range(0xA0, 0x180), 0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2264, 0x2265]
NEEDED = set(range(0x21, 0x7F))
OTHERS = re.compile(  # scripts and symbols without Latin text
    "cjk|wqy|thai|lohit|khmer|lao|arab|farsi|hebrew|indic|deva|beng|telu|taml|knda|mlym|gujr|guru|orya|kacst|nanum|unfonts|"
    "baekmuk|ipa|takao|vlg|mona|ume|aoyagi|sawarabi|motoya|droid|hanazono|arphic|cwtex|emoji|symbol|icon|awesome|math|noto|"
    "unifont|stix|dejavu|tibet|myanm|ancient|hosny|kanji|tlwg|sipa|rit-|smc|vazir|sahel|samim|shabnam|lyx|play"
)
HELD_OUT, LARGEST = 20, 4 * 2**20


def packages() -> list[str]:
    found = subprocess.run(["apt-cache", "search", "^fonts-"], capture_output=True, text=True, check=True).stdout
    return sorted(name for name in (line.split()[0] for line in found.splitlines()) if not OTHERS.search(name))


def unpacked(package: str, folder: Path) -> Path | None:
    """Download a package and unpack it; None if it cannot be had."""
    there = folder / package
    there.mkdir()
    try:
        subprocess.run(["apt-get", "download", "-q", package], cwd=there, check=True, capture_output=True, timeout=120)
        subprocess.run(["dpkg-deb", "-x", next(there.glob("*.deb")), there], check=True, capture_output=True)
    except (subprocess.SubprocessError, StopIteration) as error:
        print(f"{package}: left out ({error})")
        return None
    return there


def families(there: Path) -> dict[str, dict[bool, Path]]:
    """Return the upright faces of normal width by family: regular, and bold where there is one."""
    found: dict[str, dict[bool, Path]] = {}
    for file in sorted([*there.rglob("*.ttf"), *there.rglob("*.otf")]):
        if file.stat().st_size > LARGEST:
            continue
        try:
            with TTFont(file, lazy=True) as face:
                if not NEEDED <= set(face.getBestCmap() or ()) or "fvar" in face:
                    continue
                name, style = face["name"].getDebugName(1), (face["name"].getDebugName(2) or "").lower()
        except Exception as error:  # whatever a broken file raises
            print(f"{file.name}: left out ({type(error).__name__})")
            continue
        if name and style in ("regular", "book", "roman", "medium", "bold"):
            found.setdefault(name, {}).setdefault(style == "bold", file)
    return {name: faces for name, faces in found.items() if False in faces}


def licences(there: Path) -> list[str]:
    said = next(there.glob("usr/share/doc/*/copyright"), None)
    lines = said.read_text(errors="replace").splitlines() if said else []
    return sorted({line.removeprefix("License:").strip() for line in lines if line.startswith("License:")})


def cut(file: Path, out: Path) -> None:
    """Write the Latin letters of a face."""
    options = subset.Options(notdef_outline=True, layout_features=[], hinting=True, name_IDs=[1, 2], drop_tables=["DSIG"])
    face = subset.load_font(file, options)
    made = subset.Subsetter(options)
    made.populate(unicodes=LETTERS)
    made.subset(face)
    subset.save_font(face, out, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", type=Path)
    asked = parser.parse_args()
    rows: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as scratch:
        asked.out.mkdir(parents=True, exist_ok=True)
        for package in packages():
            there = unpacked(package, Path(scratch))
            for name, faces in families(there).items() if there else ():
                if name in rows:
                    continue
                stem = re.sub(r"\W+", "_", name)
                row = {"name": stem, "package": package, "licences": licences(there)}
                for bold, key in ((False, "regular"), (True, "bold")):
                    row[key] = f"{stem}-{key}{faces[bold].suffix}" if bold in faces else None
                try:
                    for bold, file in faces.items():
                        cut(file, asked.out / row["bold" if bold else "regular"])
                except Exception as error:  # whatever a broken file raises
                    print(f"{name}: left out ({type(error).__name__}: {error})")
                    continue
                rows[name] = row
    apart = sorted(rows, key=lambda name: hashlib.sha256(name.encode()).digest())[: HELD_OUT if asked.held_out else 0]
    if asked.held_out:
        asked.held_out.mkdir(parents=True, exist_ok=True)
        for name in apart:
            for file in filter(None, (rows[name]["regular"], rows[name]["bold"])):
                (asked.out / file).rename(asked.held_out / file)
        (asked.held_out / "typefaces.json").write_text(json.dumps([rows[name] for name in apart], indent=1))
    kept = [row for name, row in rows.items() if name not in apart]
    (asked.out / "typefaces.json").write_text(json.dumps(kept, indent=1))
    print(f"{len(kept)} families in {asked.out}, {len(apart)} apart")


if __name__ == "__main__":
    main()
