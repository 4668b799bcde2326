"""All metrics, in the order of display."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A number between 0 and 1 (error rates may exceed 1) that a summary can contain."""

    title: str
    about: str
    higher_is_better: bool = True


WANTED_ERRORS = (0.01, 0.02, 0.05, 0.1)  # shares of wrong values among those that a calibrated run accepts
METRICS: dict[str, Metric] = {
    "term": Metric("term accuracy", "Share of the medical terms that are substrings of the answer; mean of pages."),
    "value": Metric("value accuracy", "Share of the clinical values that are substrings of it; mean of pages."),
    "combined": Metric("combined accuracy", "Mean of term and value accuracy of a page, or the one that it has."),
    "term_strict": Metric("term accuracy, whole words", "As term accuracy, but BP is not found in BPH."),
    "value_strict": Metric("value accuracy, whole values", "As value accuracy, but 5 is not found in 15, 1.5 or 5/8."),
    "combined_strict": Metric("combined accuracy, whole", "As combined accuracy, of whole words and values."),
    "cer_text": Metric(
        "layout-free character error rate", "Character error rate without white space and the | between columns.", False
    ),
    "cer": Metric("character error rate", "Levenshtein distance in characters over all reference characters.", False),
    "wer": Metric("word error rate", "Levenshtein distance in words over all reference words.", False),
    "exact": Metric("exact match", "Share of answers that equal the reference but for outer white space."),
    "answer": Metric("answer accuracy", "Share of answers right but for case, punctuation and articles."),
    "yes_no": Metric("closed questions", "Share of yes/no questions whose answer begins with the right word."),
    "open": Metric("open questions", "Answer accuracy on the questions that are not answered by yes or no."),
    "anls": Metric("ANLS", "Mean normalised Levenshtein similarity of an answer; below 0.5 it counts as 0."),
    "token_f1": Metric("token F1", "Mean of the harmonic mean of word precision and word recall of an answer."),
    "anls_star": Metric("ANLS*", "ANLS over the best matching of a structure's keys and list entries."),
    "field_precision": Metric("fact precision", "Share of the facts an answer states that are right and in place."),
    "field_recall": Metric("fact recall", "Share of the expected facts that an answer states in their place."),
    "field_f1": Metric("fact F1", "Twice the right facts over the stated plus the expected ones."),
    "critical": Metric("critical facts", "Fact recall over the facts where a mistake can harm."),
    "omitted": Metric("omitted facts", "Share of the expected facts whose value stands nowhere in the answer.", False),
    "invented": Metric("invented values", "Share of an answer's values that do not stand on the page.", False),
    "invalid_json": Metric("invalid JSON", "Share of JSON answers that hold no JSON object.", False),
}
