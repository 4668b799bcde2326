"""What /benchmark answers, as HTML: scores before and after training, times, and how well confidences hold."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from medvl.ui.markup import heading, notice, percent, table

NO_RUN = "No run is served, so nothing was measured. Start the service with medvl serve run=<a run directory>."
# As in medvl's registry of metrics: title, and whether more is better.
METRICS = {
    "term": ("term accuracy", True),
    "value": ("value accuracy", True),
    "combined": ("combined accuracy", True),
    "term_strict": ("term accuracy, whole words", True),
    "value_strict": ("value accuracy, whole values", True),
    "combined_strict": ("combined accuracy, whole", True),
    "cer_text": ("layout-free character error rate", False),
    "cer": ("character error rate", False),
    "wer": ("word error rate", False),
    "exact": ("exact match", True),
    "answer": ("answer accuracy", True),
    "yes_no": ("closed questions", True),
    "open": ("open questions", True),
    "anls": ("ANLS", True),
    "token_f1": ("token F1", True),
    "anls_star": ("ANLS*", True),
    "field_precision": ("fact precision", True),
    "field_recall": ("fact recall", True),
    "field_f1": ("fact F1", True),
    "critical": ("critical facts", True),
    "omitted": ("omitted facts", False),
    "invented": ("invented values", False),
    "invalid_json": ("invalid JSON", False),
}
TIMES = {
    "first_token_ms": "to the first token",
    "each_token_ms": "per later token",
    "latency_p50_ms": "of an answer, p50",
    "latency_p95_ms": "of an answer, p95",
    "latency_p99_ms": "of an answer, p99",
}
POINTED = {
    "pointing": "right values whose place the model points at",
    "chance": "the same by chance",
    "missed": "right values left without a place",
    "flagged": "invented values left without a place",
}
WHENS = (("before", "base"), ("after", "trained"))


def report(records: Mapping[str, Any] | None, served: Mapping[str, tuple[int, float]]) -> str:
    """Return the HTML of what is known of a service.

    Args:
        records: Of its run; None: no run is served.
        served: Requests and their mean seconds, by endpoint.
    """
    if records is None:
        return notice(NO_RUN, "note") + _times({}, served)
    status, metrics = records.get("status") or {}, records.get("metrics") or {}
    head = f"<p>Run <strong>{escape(str(records['run']))}</strong>, {escape(str(status.get('state', 'unknown')))}.</p>"
    parts = [head, _scores("Scores", metrics)]
    if metrics.get("replay"):
        parts.append(_scores("Replay set, which shows forgetting", metrics["replay"]))
    parts += [_times(records.get("benchmark") or {}, served), _calibration(records.get("calibration") or {})]
    parts.append(_evidence((records.get("evidence") or {}).get("measured") or {}))
    return "".join(parts)


def _scores(title: str, metrics: Mapping[str, Any]) -> str:
    sides = [(when, name, metrics[when]) for when, name in WHENS if isinstance(metrics.get(when), dict)]
    keys = [key for key in METRICS if any(_is_number(scores.get(key)) for _, _, scores in sides)]
    if not keys:
        return heading(title) + notice("This run has no scores.", "note")
    intervals = metrics.get("intervals") or {}
    rows, bars = [], []
    for key in keys:
        name, more = METRICS[key]
        found = [(side, scores.get(key), (intervals.get(when) or {}).get(key)) for when, side, scores in sides]
        values = [value for _, value, _ in found if _is_number(value)]
        change = f"{100 * (values[1] - values[0]):+.2f}" if len(values) == 2 else "n/a"
        rows.append((escape(name), *(_number(value, bounds) for _, value, bounds in found), change))
        wanted = "more is better" if more else "less is better"
        lines = "".join(_bar(side, value, bounds) for side, value, bounds in found if _is_number(value))
        bars.append(f'<div class="mv-metric"><div>{escape(name)} <small>{wanted}</small></div>{lines}</div>')
    head = ("metric", *(f"{side}, %" for _, side, _ in sides), "change, points")
    verdict = f"<p>{escape(str(metrics['verdict']))}</p>" if metrics.get("verdict") else ""
    examples = sides[-1][2].get("examples")
    over = f": {int(examples)} examples" if _is_number(examples) else ""
    about = "<p>In brackets and as thin lines: 95 % intervals.</p>" if intervals else ""
    return f'{heading(title + over)}{verdict}{about}{table(head, rows)}<div class="mv-plot">{"".join(bars)}</div>'


def _number(value: Any, bounds: Any) -> str:
    if not _is_number(value):
        return "n/a"
    return f"{100 * value:.2f}" + (f" <small>[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]</small>" if bounds else "")


def _bar(side: str, value: float, bounds: Any) -> str:
    """Return a bar from 0 to 100 %, with its interval as a thin line; an error rate beyond ends at the edge."""
    spread = ""
    if bounds:
        low, high = (100 * min(max(float(end), 0.0), 1.0) for end in bounds)
        spread = f'<i style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
    length = 100 * min(max(float(value), 0.0), 1.0)
    track = f'<span class="mv-track"><b style="width:{length:.2f}%"></b>{spread}</span>'
    return f'<div class="mv-bar mv-{side}"><span>{side}</span>{track}<span>{percent(value)}</span></div>'


def _times(measured: Mapping[str, Any], served: Mapping[str, tuple[int, float]]) -> str:
    known = [(title, measured.get(key)) for key, title in TIMES.items()]
    rows = [(title, f"{took:,.1f}&nbsp;ms", "benchmark.json") for title, took in known if _is_number(took)]
    for endpoint, (count, seconds) in served.items():
        rows.append((f"{escape(endpoint)}, mean", f"{seconds:,.2f}&nbsp;s", f"{count:,} requests to this service"))
    if not rows:
        return heading("Latency") + notice("Nothing was asked since the service was started.", "note")
    return f"{heading('Latency')}{table(('time', 'took', 'measured on'), rows)}"


def _calibration(known: Mapping[str, Any]) -> str:
    if not known:
        return heading("Calibration") + notice("Not calibrated. Measure it: medvl calibrate run=...", "note")
    rows = []
    for name, one in (known.get("measured") or {}).items():
        cells = [f"{one[key]:.3f}" if _is_number(one.get(key)) else "n/a" for key in ("ece", "brier", "auroc")]
        rows.append((escape(name), *cells, percent(one["wrong"]) if _is_number(one.get("wrong")) else "n/a"))
    thresholds = []
    for error, chosen in sorted((known.get("thresholds") or {}).items(), key=lambda pair: float(pair[0])):
        cells = [percent(chosen[key]) for key in ("confidence", "coverage", "bound")] if chosen else ["never", "", ""]
        thresholds.append((percent(float(error)), *cells))
    fitted = (
        f"<p>Fitted on {int(known['values'])} values of {int(known['documents'])} documents: "
        f"{escape(str(known['fitted_on']))}.</p>"
    )
    measures = table(("confidence", "ECE", "Brier", "AUROC", "wrong values"), rows) if rows else ""
    head = ("wanted error", "accepted from", "share accepted", "bound on the error")
    return f"{heading('Calibration')}{fitted}{measures}{table(head, thresholds) if thresholds else ''}"


def _evidence(measured: Mapping[str, Any]) -> str:
    rows = [(title, percent(measured[key])) for key, title in POINTED.items() if _is_number(measured.get(key))]
    if not rows:
        return heading("Evidence") + notice("Where values stand was not measured: medvl calibrate run=...", "note")
    return f"{heading('Evidence')}{table(('of the values on held-out pages', 'share'), rows)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
