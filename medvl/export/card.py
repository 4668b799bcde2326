"""The card of an exported model: README.md for people and hubs, export.json for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvl.export.files import hashed
from medvl.export.lineage import licence_lines
from medvl.metrics import METRICS
from medvl.metrics.scoring import percent
from medvl.model.adapters import EXPORTED
from medvl.record.files import write_json, write_text
from medvl.record.masking import without_secrets

CARD = "README.md"

QUANTISED = (
    "For vLLM, transformers 5 with compressed-tensors, and `model.path=` of medvl. Every quantised weight was rounded "
    "to the nearest value; nothing was calibrated."
)
CALIBRATED = (
    "For vLLM, transformers 5 with compressed-tensors, and `model.path=` of medvl. Quantised by llm-compressor, "
    "calibrated on pages of the training split."
)
GGUF = (
    "For llama.cpp: `llama-server --model model.gguf --mmproj mmproj.gguf --jinja --image-min-tokens 4`. The vision "
    "tower is in f16. The `Modelfile` is for Ollama, which was not run."
)
USE = {
    "merged": "For transformers 4 and 5, vLLM, and `model.path=` of medvl.",
    "fp8": f"{QUANTISED} vLLM also rounds the inputs of these layers to FP8; the engine that was scored does not.",
    "w8a16": QUANTISED,
    "w4a16": QUANTISED,
    "nvfp4a16": QUANTISED,
    **dict.fromkeys(("awq", "gptq"), CALIBRATED),
    **dict.fromkeys(("gguf", "gguf_q8_0", "gguf_q4_k_m"), GGUF),
}


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write README.md and export.json beside the weights, with the hashes of all that is there."""
    facts = {**without_secrets(facts), "files": hashed(folder)}
    write_json(folder / EXPORTED, facts)
    write_text(folder / CARD, card(facts))


def card(facts: Mapping[str, Any]) -> str:
    """Return the model card of an export as Markdown."""
    base, run = facts["base"], facts["run"]
    head = [
        *licence_lines(base["licence"], base["name"]),
        f"base_model: {base['name']}",
        f"library_name: {'gguf' if facts['format'].startswith('gguf') else 'transformers'}",
        "pipeline_tag: image-text-to-text",
        "tags: [qwen2_5_vl, medvl, research]",
    ]
    body = [
        f"# {run['name'] if run else base['name']}, {facts['format']}",
        "A Qwen2.5-VL that reads documents, exported by medvl. **Not for clinical use.**",
        "" if facts["publishable"] else f"**Not marked publishable**: {' '.join(facts['why'])}",
        USE[facts["format"]],
        _table(_lineage(facts)),
        *_scores(facts),
        *_parity(facts),
        _advice(facts),
    ]
    return "\n".join(["---", *head, "---", "", "\n\n".join(part for part in body if part), ""])


def _lineage(facts: Mapping[str, Any]) -> list[Sequence[str]]:
    base, run, pixels = facts["base"], facts["run"], facts["pixels"]
    revision = f", revision {base['revision']}" if base["revision"] else ""
    rows: list[Sequence[str]] = [
        ["", ""],
        ["base", f"{base['name']}{revision}; licence: {base['licence']}; architecture {base['architecture']}"],
    ]
    if facts["merged_into"]:
        rows.append(["merged into", f"{facts['merged_into']} weights of the base, in bf16"])
    if run:
        rows += [
            ["run", f"{run['name']}, {run['checkpoint']}, finished {run['finished']}"],
            ["run's commit", str(run["commit"])],
            ["run's precision", str(run["precision"])],
            ["data", f"{run['data']}, hash {run['data_hash']}"],
        ]
    rows.append(["exported", f"with medvl {facts['medvl']['version']}, commit {facts['medvl']['commit']}"])
    rows.append(["weights", f"{facts['tensors']} tensors, {facts['bytes'] / 1e6:,.1f} MB"])
    if facts["quantised"]:
        about = f"{facts['quantised']} linear layers of the language model, {facts['scheme']} of compressed-tensors"
        rows.append(["quantised", f"{about}; vision tower, merger and head are in bf16"])
    rows.append(["scored by", facts["engine"]])
    rows.append(["images", f"{pixels['min_pixels']:,} to {pixels['max_pixels']:,} pixels"])
    if facts["prompt"]:
        rows.append(["prompt", f"`{facts['prompt']}`"])
    return rows


def _scores(facts: Mapping[str, Any]) -> list[str]:
    """Return the table of scores: base and adapter as the run measured them, and the export."""
    recorded = facts["run"]["scores"] if facts["run"] else {}
    spread = {**(recorded.get("intervals") or {}), "export": facts["scores"]["intervals"]}
    columns = {"base": "before", "adapter": "after", "export": "export"}
    summaries = {**recorded, "export": facts["scores"]["summary"]}
    shown = {title: name for title, name in columns.items() if summaries.get(name)}
    rows: list[Sequence[str]] = [["", *shown]]
    for key, metric in METRICS.items():
        if all(summaries[name].get(key) is None for name in shown.values()):
            continue
        cells = [percent(summaries[name].get(key), (spread.get(name) or {}).get(key)) for name in shown.values()]
        rows.append([metric.title, *cells])
    examples = facts["scores"]["summary"]["examples"]
    about = f"Scores on {examples} examples of {facts['eval']}, with 95 % intervals"
    return [f"## Scores\n\n{about}.\n\n{_table(rows)}"] if len(rows) > 1 else []


def _parity(facts: Mapping[str, Any]) -> list[str]:
    rows: list[Sequence[str]] = [["against", "positions", "largest logit difference", "mean", "same likeliest token"]]
    for one in facts["parity"]["logits"]:
        rows.append(
            [
                one["against"],
                str(one["positions"]),
                f"{one['max_logit_difference']:.4g}",
                f"{one['mean_logit_difference']:.4g}",
                f"{one['same_likeliest']} of {one['positions']}",
            ]
        )
    parts = ["## Parity"] + ([_table(rows)] if len(rows) > 1 else [])
    answers = facts["parity"]["answers"]
    if answers:
        text = f"{answers['equal']} of {answers['of']} answers equal {answers['against']}. "
        text += f"{answers['verdict']}: {' '.join(answers['why'])}"
        parts.append(text)
    return ["\n\n".join(parts)] if len(parts) > 1 else []


def _advice(facts: Mapping[str, Any]) -> str:
    return (
        "## Pages\n\nEngines resize pages in ways of their own. Resize a page to multiples of 28 px within the pixels "
        "above and send it as PNG; then all of them see the same. Decode greedily, without penalties."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in Markdown, the first as the heading."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
