"""`medvl calibrate`: values with their truth, from real pages; what it cannot do is said in one line."""

import pytest

from medvl.data.prepare import prepare
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.documents.render import Render
from medvl.documents.tasks import TRANSCRIBE, Task
from medvl.run.calibrating import extracted, judged, transcripts, with_transcripts


def test_values_of_pages_are_judged_by_their_facts(reader, encoder, cache, monkeypatch):
    source = ClinicalForms(count=24, tasks=[Task.json], kinds=["prescription"])
    made = prepare(source, Render(), encoder, budget=2048, cache=cache, workers=1, bar=False)
    examples = made.examples["train"][:3]
    read = judged(extracted(reader, examples, 120))
    assert {known.document for known in read} <= {example.document for example in examples}
    assert all(one.said.value.strip() and one.said.tokens > 0 and one.said.log_probability < 0 for one in read)

    pages = transcripts(reader, examples, TRANSCRIBE, 60)
    assert set(pages) == {image for example in examples for image in example.images}
    (first, *_) = with_transcripts(extracted(reader, examples[:1], 8), pages)
    assert first.transcript == "\n".join(pages[image] for image in examples[0].images) and first.transcript.strip()

    def told(asked, *, max_new_tokens, schemas):
        """Answer with the references, one digit of the first one changed."""
        answers = reader.answers(asked, max_new_tokens=max_new_tokens, schemas=schemas)
        for answer, example in zip(answers, asked, strict=True):
            text = (
                example.response.replace(example.fields[0].value, "Zed", 1) if example is asked[0] else example.response
            )
            answer.ids = reader.encoder.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            answer.forced, answer.closed = [False] * len(answer.ids), 0
            answer.masses = [1.0] * len(answer.ids)
            answer.log_probabilities = [-0.5] * len(answer.ids)
        return answers

    class Told:
        encoder, answers = reader.encoder, staticmethod(told)

    read = judged(extracted(Told(), examples, None))
    wrong = [(known.said.value, known.document) for known in read if not known.right]
    assert wrong == [("Zed", examples[0].document)] and len(read) == sum(len(one.fields) for one in examples)


@pytest.mark.parametrize(
    ("words", "mend"), [([], "Set run=<the directory of a run>"), (["run=nowhere"], "config.yaml is missing")]
)
def test_what_it_needs_is_said(script, tmp_path, words, mend):
    code, said = script("medvl/cli.py", "calibrate", *words, cwd=tmp_path)
    assert code == 2 and mend in said and "Traceback" not in said
