"""What `medvl calibrate` measured stands in the report of its run."""

import numpy as np
import pytest
from reports import change, copy

from medvl.evaluation.calibration import measure
from medvl.record.files import read_json, write_json
from medvl.reporting.report import write

THRESHOLDS = {"0.01": None, "0.05": {"confidence": 0.83, "bound": 0.046, "coverage": 0.62}}
POINTED = {"values": 300, "pointing": 0.8, "chance": 0.04, "missed": 0.06, "invented": 90, "flagged": 0.07}


@pytest.fixture
def calibrated(trained, tmp_path):
    run = copy(trained[0], tmp_path / "run")
    rng = np.random.default_rng(1)
    confidence = rng.uniform(size=400)
    measured = measure(confidence, rng.uniform(size=400) < confidence)
    known = {"raw": measure(confidence**3, rng.uniform(size=400) < confidence), "calibrated": measured}
    write_json(run / "calibration.json", {"fitted_on": "forms, val", "measured": known, "thresholds": THRESHOLDS})
    write_json(run / "evidence.json", {"heads": [[5, 1]], "measured": POINTED})
    return run, known


def test_calibration_and_evidence_are_reported(calibrated, tmp_path):
    run, known = calibrated
    html = write([run], tmp_path / "out").read_text()
    tables = read_json(tmp_path / "out/FINAL_REPORT.json")["tables"]["trust"]
    raw, after = tables["confidence of run"]["rows"]
    assert after["ECE"]["value"] == known["calibrated"]["ece"] < raw["ECE"]["value"] == known["raw"]["ece"]
    assert after["AUROC"]["key"] == "measured.calibrated.auroc" and after["AUROC"]["file"] == "calibration.json"
    never, held = tables["thresholds of run"]["rows"]
    assert never["accepted from"] is None and held["share accepted"]["value"] == 0.62
    assert {row["share of values"]: row[""]["value"] for row in tables["evidence of run"]["rows"]} == {
        "right values whose place is pointed at": 0.8,
        "the same by chance": 0.04,
        "right values without evidence": 0.06,
        "invented values without evidence": 0.07,
    }
    assert "wrong of those accepted" in html and "Check every value" not in html
    change(run / "calibration.json", thresholds=dict.fromkeys(THRESHOLDS))
    assert "Check every value" in write([run], tmp_path / "again").read_text()


def test_a_damaged_calibration_is_left_out_and_said(calibrated, tmp_path):
    run, _ = calibrated
    (run / "calibration.json").write_text('{"measured": 3}')
    (run / "evidence.json").unlink()
    html = write([run], tmp_path / "out").read_text()
    assert '<section id="trust">' not in html and "calibration.json" in html
