"""Where an exported model comes from: its base and licence, its run, data and scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medvl.record.files import read_json

if TYPE_CHECKING:
    from medvl.model.loading import Model

UNKNOWN = "unknown"
# Licences of the published bases, by the name on the hub: the name, and its link where it is none of the usual ones.
_HUB = "https://huggingface.co/"
LICENCES = {
    "Qwen/Qwen2.5-VL-3B-Instruct": "qwen-research",
    "Qwen/Qwen2.5-VL-7B-Instruct": "apache-2.0",
    "Qwen/Qwen2.5-VL-32B-Instruct": "apache-2.0",
    "Qwen/Qwen2.5-VL-72B-Instruct": "qwen",
    "allenai/olmOCR-2-7B-1025": "apache-2.0",
    "lingshu-medical-mllm/Lingshu-7B": "mit",
}


def base_of_export(model: Model, base_hash: str) -> dict[str, Any]:
    """Return name, revision, licence and architecture of a base; of a folder only its own name."""
    name = model.name
    if model.path is not None and model.is_local:
        name = Path(model.path).resolve().name
    return {"name": name, "revision": model.revision, "licence": licence_of(model), "architecture": base_hash}


def licence_of(model: Model) -> str:
    """Return the licence that the model card in a base's folder names, or that of a published base; else unknown."""
    if model.is_local and (found := licence_in(model.card())) is not None:
        return found
    return LICENCES.get(str(model.path), UNKNOWN)


def licence_in(card: Path) -> str | None:
    """Return the licence that the front matter of a model card names; None if it names none."""
    try:
        text = card.read_text(encoding="utf-8")
        head = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else None
    except (OSError, ValueError, IndexError, yaml.YAMLError):
        return None
    facts = head if isinstance(head, dict) else {}
    found = facts.get("license_name") or facts.get("license")
    return found if isinstance(found, str) else None


def licence_lines(licence: str, base: str) -> list[str]:
    """Return the front matter of a model card about a licence.

    >>> licence_lines("apache-2.0", "nano")
    ['license: apache-2.0']
    """
    if licence == UNKNOWN:
        return ["license: other"]
    if not licence.startswith("qwen"):
        return [f"license: {licence}"]
    link = [f"license_link: {_HUB}{base}/blob/main/LICENSE"] if base in LICENCES else []
    return ["license: other", f"license_name: {licence}", *link]


def run_of_export(run: Path, checkpoint: str) -> dict[str, Any]:
    """Return what a finished run's record says of the trained model, without texts and paths."""
    environment, prepared, status, metrics = (
        read_json(run / f"{name}.json") or {} for name in ("environment", "prepared", "status", "metrics")
    )
    groups = (environment.get("choices") or {}).get("groups") or {}
    return {
        "name": run.resolve().name,
        "commit": environment.get("commit"),
        "checkpoint": checkpoint,
        "finished": status.get("updated"),
        "data": groups.get("data"),
        "data_hash": prepared.get("fingerprint"),
        "precision": groups.get("precision"),
        "objective": (status.get("objective") or {}).get("name"),
        "scores": {name: metrics[name] for name in ("before", "after", "intervals", "replay") if name in metrics},
        "gate": metrics.get("gate"),
    }
