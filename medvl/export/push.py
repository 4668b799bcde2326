"""`medvl push`: sends an export to the Hugging Face hub, with its card, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.export.card import CARD, card
from medvl.export.files import hashed
from medvl.export.lineage import UNKNOWN, licence_in
from medvl.metrics import METRICS
from medvl.metrics.scoring import percent
from medvl.model.adapters import EXPORTED, holds_adapter
from medvl.record.errors import first_line
from medvl.record.files import read_json
from medvl.record.text_table import grid

if TYPE_CHECKING:
    from huggingface_hub import HfApi

USAGE = "medvl push <export folder> repo=<name>/<model> [--public] [force=true] [--yes]"
REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FLAGS = ("--public", "--yes", "force=true")
OWN = {".gitattributes", "README.md"}  # what the hub puts into a new repository
NO_LICENCE = ("other", UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """An export that may be sent."""

    folder: Path
    facts: dict[str, Any]
    """Its export.json."""
    licence: str

    @classmethod
    def of(cls, folder: Path, *, force: bool) -> Parcel:
        """Read an export; every file must be as it was written, but for the card, which may be edited.

        Raises:
            ValueError: It is none, not whole, not the one that was scored, not publishable, or of an unknown licence.
        """
        facts = read_json(folder / EXPORTED) or {}
        if not facts.get("format"):
            adapter = ", which holds an adapter alone" if holds_adapter(folder) else ""
            raise ValueError(f"{folder}{adapter} is no export. Name one that medvl export has written.")
        if not facts.get("files") or not (folder / CARD).is_file():
            raise ValueError(
                f"{folder} lacks its card, or was written by a medvl that recorded no hashes. "
                "Write it again: medvl export ... force=true."
            )
        found = hashed(folder, facts["files"])
        if changed := [name for name, told in facts["files"].items() if found.get(name) != told]:
            raise ValueError(
                f"{folder / changed[0]} is missing or not the file that was scored. Write the export again: "
                "medvl export ... force=true."
            )
        if not facts.get("publishable") and not force:
            why = " ".join(facts.get("why") or ["Its export.json says so."])
            raise ValueError(f"{folder} is not marked publishable: {why} Set force=true to send it all the same.")
        licence = licence_in(folder / CARD)
        if licence is None or licence in NO_LICENCE:
            raise ValueError(
                f"the licence of the base is not known. Write it into the front matter of {folder / CARD}, as "
                "license: <its name on the hub>, or as license: other with license_name: <its name>."
            )
        return cls(folder=folder, facts=facts, licence=licence)

    @property
    def names(self) -> list[str]:
        """What is sent: the files that were written with the export, its card and export.json."""
        return [*sorted(self.facts["files"]), CARD, EXPORTED]

    def told(self, repo: str, *, public: bool) -> str:
        """Say what is sent and where to, what it is worth, and what stays here."""
        facts, paths = self.facts, [self.folder / name for name in self.names]
        edited = (self.folder / CARD).read_text(encoding="utf-8") != card(facts)
        rows = [["", f"{path.stat().st_size / 1e6:,.3f} MB", path.name] for path in paths]
        scores = facts["scores"]
        known = [(key, one) for key, one in METRICS.items() if scores["summary"].get(key) is not None]
        left = sorted({path.name for path in self.folder.iterdir()} - set(self.names))
        return "\n".join(
            [
                f"{self.folder} to https://huggingface.co/{repo}, {'public' if public else 'private'}:",
                grid(rows, left=(0, 2)),
                f"base {facts['base']['name']}, licence {self.licence}",
                *[
                    f"{one.title}: {percent(scores['summary'][key], scores['intervals'].get(key))}"
                    for key, one in known
                ],
                "publishable" if facts["publishable"] else f"not marked publishable: {' '.join(facts['why'])}",
                *([f"{CARD} was edited since it was written; it is sent as it is"] if edited else []),
                *([f"stays here: {', '.join(left)}"] if left else []),
            ]
        )


def push(words: Sequence[str]) -> str:
    """Return what would be sent, or send it with `--yes`.

    Raises:
        ValueError: A word is not what the verb takes, the export may not be sent, or the hub does not take it.
    """
    folders, repo = [], None
    for word in words:
        if word.startswith("repo="):
            repo = word.removeprefix("repo=")
        elif word not in FLAGS:
            folders.append(word)
    if wrong := [word for word in folders if word.startswith(("-", "force=")) or not word]:
        raise ValueError(f"there is no option {wrong[0] or repr('')}; usage: {USAGE}")
    if len(folders) != 1:
        raise ValueError(f"{len(folders)} folders were named; usage: {USAGE}")
    if repo is None or not REPO.fullmatch(repo):
        raise ValueError(f"repo={repo or ''} is no name of a model on the hub. Set repo=<name>/<model>.")
    public = "--public" in words
    parcel = Parcel.of(Path(folders[0]), force="force=true" in words)
    told = parcel.told(repo, public=public)
    if "--yes" not in words:
        return f"{told}\nNothing was sent. The same with --yes sends it."
    return f"{told}\nsent: {_send(parcel, repo, public=public)}"


def _send(parcel: Parcel, repo: str, *, public: bool) -> str:
    """Commit an export to a repository, in the place of an earlier one; return the commit's address."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ValueError("HF_HUB_OFFLINE forbids the network. Unset it to send.")
    if (token := get_token()) is None:
        raise ValueError("the hub knows no one here. Run hf auth login, or set HF_TOKEN to a token that may write.")
    try:
        return _commit(HfApi(token=token), parcel, repo, public=public)
    except (HTTPError, OSError) as error:
        said = first_line(error).replace(token, "***")
        raise ValueError(
            f"the hub did not take {repo}: {said}. See that the name is yours and that the token may write: "
            "hf auth whoami."
        ) from None


def _commit(hub: HfApi, parcel: Parcel, repo: str, *, public: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    hub.create_repo(repo, private=not public, exist_ok=True)
    about: Any = hub.repo_info(repo)
    if not about.private and not public:
        raise ValueError(f"{repo} is public already. Add --public, or set repo=<another>.")
    there = set(hub.list_repo_files(repo)) - OWN
    if there and EXPORTED not in there:
        raise ValueError(f"{repo} holds something else, such as {min(there)}. Set repo=<a new one>.")
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=parcel.folder / name) for name in parcel.names
    ]
    # Weights of an earlier export, in other files, would stand beside these.
    operations += [CommitOperationDelete(path_in_repo=name) for name in sorted(there - set(parcel.names))]
    run = parcel.facts["run"]
    message = f"{parcel.facts['format']} of {run['name'] if run else parcel.facts['base']['name']}, by medvl"
    done: Any = hub.create_commit(repo, operations, commit_message=message, parent_commit=about.sha)
    return str(done.commit_url)
