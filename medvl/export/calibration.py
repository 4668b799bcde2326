"""AWQ and GPTQ by llm-compressor: the folder that it is run in, and what is taken from it afterwards.

llm-compressor asks for other versions of transformers and compressed-tensors than medvl, so it runs in an environment
of its own, by a script that needs no medvl (calibrate.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl.data.decoding import open_image
from medvl.export import calibrate
from medvl.export.weights import wanted_names
from medvl.model.compressed import is_compressed, scheme_of
from medvl.model.folder import check_files
from medvl.record.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

    from medvl.types import Example

JOB, RESULT, MODEL = "job.json", calibrate.RESULT, "model"
EXAMPLES = 128  # of the training split
# Tried with these: pip install llmcompressor torchvision on 2026-11-28.
REQUIREMENTS = """\
llmcompressor==0.14.0.1
compressed-tensors==0.19.0
transformers==5.17.0
torchvision>=0.29
datasets>=5.2
pillow
"""
LEFT_ALONE = ["re:.*visual.*", "re:.*lm_head"]
README = """\
# {method}, calibrated on {count} examples

`model/` is the merged model in bf16, `calibration.jsonl` and `pages/` are examples of the training split of its data:
pages, prompts and reference answers. **They are as private as that data.**

```bash
python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
.venv/bin/python calibrate.py       # writes quantised/; on a GPU if there is one
```

This folder may be copied to another machine for that, and `quantised/` back into it. The command of `medvl export` that
wrote this folder, typed again, then checks the result, scores it and writes the export. Afterwards this folder may be
deleted.
"""


def write_job(folder: Path, examples: Sequence[Example], job: dict[str, Any], max_image_pixels: int) -> None:
    """Write script, requirements, instructions and calibration set beside the model of a folder.

    Args:
        job: Of which weights, and how they are to be quantised: method and scheme.
    """
    (folder / "pages").mkdir()
    rows = []
    for at, example in enumerate(examples):
        names = [f"pages/{at:03}-{page}.png" for page in range(len(example.images))]
        for name, path in zip(names, example.images, strict=True):
            open_image(path, max_image_pixels).convert("RGB").save(folder / name)
        rows.append({"images": names, "prompt": example.prompt, "response": example.response})
    write_text(folder / "calibration.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    longest = max(example.tokens for example in examples)
    write_json(folder / JOB, {**job, "ignore": LEFT_ALONE, "longest": longest, "examples": len(examples)})
    write_text(folder / "requirements.txt", REQUIREMENTS)
    write_text(folder / "README.md", README.format(method=job["method"].upper(), count=len(examples)))
    shutil.copyfile(calibrate.__file__, folder / "calibrate.py")


def take_result(result: Path, states: dict[str, Tensor], config: PretrainedConfig, scheme: str, folder: Path) -> Any:
    """Copy what llm-compressor has written to a folder whose config.json then says how it is stored.

    Args:
        states: The weights that were quantised, under their published names.
        scheme: The preset that they were to be quantised to.

    Returns:
        The names of the tensors that the folder must hold, and how many layers are quantised.

    Raises:
        ValueError: It is not whole, quantised in another way, or another model.
    """
    from compressed_tensors.quantization import preset_name_to_scheme

    check_files(result)
    stored: Any = (read_json(result / "config.json") or {}).get("quantization_config")
    if not is_compressed(stored) or not stored.get("ignore"):
        raise ValueError(f"{result} does not say how it is quantised. Run calibrate.py again.")
    found, wanted = scheme_of(stored, str(result)), preset_name_to_scheme(scheme, ["Linear"])
    told, asked = [(one.weights.num_bits, one.weights.type, one.weights.group_size) for one in (found, wanted)]
    if told != asked or found.input_activations is not None:
        raise ValueError(f"{result} is not quantised to {scheme}. Run calibrate.py as it was written.")
    _check_untouched(result, states)
    stored = {**stored, "ignore": [*stored["ignore"], *LEFT_ALONE]}
    for file in (*result.glob("*.safetensors"), *result.glob("*.safetensors.index.json")):
        shutil.copyfile(file, folder / file.name)
    write_json(folder / "config.json", {**(read_json(folder / "config.json") or {}), "quantization_config": stored})
    names = wanted_names(config, stored)
    return names, sum(name.endswith(".weight_packed") for name in names)


def _check_untouched(result: Path, states: dict[str, Tensor]) -> None:
    """Refuse weights whose vision tower is another one: neither method touches it."""
    from safetensors import safe_open

    for file in result.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no dictionary)
                mine = states.get(name) if name.startswith("visual.") else None
                if mine is not None and not mine.equal(opened.get_tensor(name)):
                    raise ValueError(
                        f"{result} is of another model: its {name} differs. Run calibrate.py in the folder that was "
                        "written for this one."
                    )
