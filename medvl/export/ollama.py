"""A Modelfile, by which Ollama takes up the two GGUF files beside it. Source: Ollama's documentation of that file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvl.model import prompt

if TYPE_CHECKING:
    from transformers import ProcessorMixin

FILE = "Modelfile"
_SLOT = "\x00prompt\x00"


def modelfile(processor: ProcessorMixin, *, model: str, projector: str, context: int) -> str:
    """Return the text of a Modelfile: greedy answers without penalties, in the words of the base's chat template.

    Args:
        model, projector: The GGUF files beside it.
        context: Tokens of a prompt and its answer.
    """
    processing: Any = processor
    turn = [{"role": "user", "content": [{"type": "text", "text": _SLOT}]}]
    text = processing.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    template = text.replace(_SLOT, "{{ .Prompt }}") + "{{ .Response }}"
    parameters = {
        "temperature": 0,
        "top_k": 1,
        "repeat_penalty": 1,
        "num_ctx": context,
        "stop": f'"{prompt.END_OF_TURN}"',
    }
    return "\n".join(
        [
            f"FROM ./{model}",
            f"FROM ./{projector}",
            f'TEMPLATE """{template}"""',
            *(f"PARAMETER {name} {value}" for name, value in parameters.items()),
            "",
        ]
    )
