"""Gather typefaces to pretrain nano with, from Debian's packages:

python experiments/gather_typefaces.py OUT --held-out OUT2

Wants apt-get and dpkg-deb, and fonttools in the environment. Each family goes into OUT with its Latin letters only,
regular and bold; typefaces.json says from which package it is and under which licences. Twenty families, chosen by the
hash of their names, go to --held-out instead, and are for scoring alone; their nearest relatives are left out of OUT.
Rendered pixels enter a model's weights, typefaces do not.
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

LETTERS = [*range(0x20, 0x7F), *range(0xA0, 0x180), 0x2013, 0x2014, *range(0x2018, 0x201E), 0x2022, 0x2264, 0x2265]
NEEDED = set(range(0x21, 0x7F))
OTHERS = re.compile(  # scripts and symbols without Latin text
    "cjk|wqy|thai|lohit|khmer|lao|arab|farsi|hebrew|indic|deva|beng|telu|taml|knda|mlym|gujr|guru|orya|kacst|nanum|unfonts|"
    "baekmuk|ipa|takao|vlg|mona|ume|aoyagi|sawarabi|motoya|droid|hanazono|arphic|cwtex|emoji|symbol|icon|awesome|math|noto|"
    "unifont|stix|dejavu|tibet|myanm|ancient|hosny|kanji|tlwg|sipa|rit-|smc|vazir|sahel|samim|shabnam|lyx|play"
)
# Families whose letters are runes, signs or play.
ODD = re.compile(
    "BRK|Quot|Barcode|Math|Dunh|Klingon|Futhark|feta|Keyboard|Penguin|BabelStone_Modern|Eeyek|Denemo|IPA_PHON|Jara|Cherry"
)
FOUNDRIES = ("BPG", "LM", "CMU", "EB", "Go", "IM", "Linux", "Fira", "GFS")  # the family's name is the second word
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
        if not file.is_file() or file.stat().st_size > LARGEST:  # a link may lead to another package
            continue
        try:
            with TTFont(file, lazy=True) as face:
                if not set(face.getBestCmap() or ()) >= NEEDED or "fvar" in face:
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
    named = {line.removeprefix("License:").strip() for line in lines if line.startswith("License:")} - {""}
    return sorted(named) or ["as its copyright file says"]


def cut(file: Path, out: Path) -> None:
    """Write the Latin letters of a face."""
    options = subset.Options(notdef_outline=True, layout_features=[], name_IDs=[1, 2], drop_tables=["DSIG"])
    face = subset.load_font(file, options)
    made = subset.Subsetter(options)
    made.populate(unicodes=LETTERS)
    made.subset(face)
    subset.save_font(face, out, options)


def related(name: str) -> tuple[str, ...]:
    """Return what a family has in common with its nearest relatives."""
    parts = name.split("_")
    return tuple(parts[:2]) if parts[0] in FOUNDRIES else (parts[0],)


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
                stem = re.sub(r"\W+", "_", name)
                if stem in rows or ODD.search(stem):
                    continue
                row = {"name": stem, "package": package, "licences": licences(there)}
                for bold, key in ((False, "regular"), (True, "bold")):
                    row[key] = f"{stem}-{key}{faces[bold].suffix}" if bold in faces else None
                try:
                    for bold, file in faces.items():
                        cut(file, asked.out / row["bold" if bold else "regular"])
                except Exception as error:  # whatever a broken file raises
                    print(f"{name}: left out ({type(error).__name__}: {error})")
                    continue
                rows[stem] = row
    apart = sorted(rows, key=lambda name: hashlib.sha256(name.encode()).digest())[: HELD_OUT if asked.held_out else 0]
    if asked.held_out:
        asked.held_out.mkdir(parents=True, exist_ok=True)
        for name in apart:
            for file in filter(None, (rows[name]["regular"], rows[name]["bold"])):
                (asked.out / file).rename(asked.held_out / file)
        (asked.held_out / "typefaces.json").write_text(json.dumps([rows[name] for name in apart], indent=1))
    relatives = set(map(related, apart))
    kept = [row for name, row in rows.items() if related(name) not in relatives]
    (asked.out / "typefaces.json").write_text(json.dumps(kept, indent=1))
    print(f"{len(kept)} families in {asked.out}, {len(apart)} apart")


if __name__ == "__main__":
    main()
