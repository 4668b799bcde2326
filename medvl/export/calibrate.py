"""Quantise the model of this folder to 4 bits, calibrated on its pages, with llm-compressor.

medvl export format=awq and format=gptq write this file beside a model and pages. It needs no medvl, but an environment
of its own: pip install -r requirements.txt; then python calibrate.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = "quantised"


def main() -> None:
    import torch
    from llmcompressor import oneshot
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    job = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":  # AWQ pins what a GPU is to read, which fails without one
        torch.Tensor.pin_memory = lambda tensor, *_: tensor  # type: ignore[method-assign]
    load: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained
    model = load(HERE / "model", dtype=torch.bfloat16, device_map=device)
    processor = AutoProcessor.from_pretrained(HERE / "model")
    rows = [json.loads(line) for line in (HERE / "calibration.jsonl").read_text(encoding="utf-8").splitlines()]
    oneshot(
        model=model,
        processor=processor,
        dataset=dataset(rows, processor),
        data_collator=collate,
        recipe=recipe(job),
        num_calibration_samples=len(rows),
        max_seq_length=job["longest"],
        sequential_targets=["Qwen2_5_VLDecoderLayer"],
        pipeline="sequential",
    )
    model.save_pretrained(HERE / RESULT, save_compressed=True)
    print(f"written: {HERE / RESULT}", file=sys.stderr)


def recipe(job: dict[str, Any]) -> list[Any]:
    """Return what is done to the linear layers of the language model."""
    how = {"targets": ["Linear"], "scheme": job["scheme"], "ignore": job["ignore"]}
    if job["method"] == "gptq":
        from llmcompressor.modifiers.gptq import GPTQModifier

        return [GPTQModifier(**how)]
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [AWQModifier(), QuantizationModifier(**how)]


def dataset(rows: list[dict[str, Any]], processor: Any) -> Any:
    """Return the tensors of every example: pages, prompt and reference answer, one to a row."""
    from datasets import Dataset
    from PIL import Image

    told = []
    for row in rows:
        asked = [*({"type": "image"} for _ in row["images"]), {"type": "text", "text": row["prompt"]}]
        turn = [{"role": "user", "content": asked}]
        text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        images = [Image.open(HERE / name).convert("RGB") for name in row["images"]]
        told.append(dict(processor(text=[text + row["response"]], images=images)))
    return Dataset.from_list(told)


def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only example of a batch as tensors."""
    import torch

    (row,) = batch
    tensors = {name: torch.tensor(value) for name, value in row.items()}
    tensors["pixel_values"] = tensors["pixel_values"].to(torch.bfloat16)
    return tensors


if __name__ == "__main__":
    main()
