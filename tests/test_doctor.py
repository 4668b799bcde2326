"""`medvl doctor`, on this machine and on one where everything is wrong."""

from types import SimpleNamespace

from conftest import ROOT

from medvl import doctor


def test_doctor_names_what_is_amiss(tmp_path, monkeypatch):
    assert {what for what, well, _ in doctor.examine(tmp_path / "new") if not well} == set()
    setup = (ROOT / "setup.cfg").read_text().replace("torch>=2.11", "torch>=99").replace("scipy>=1.15", "scipie")
    setup = setup.replace("lightning>=2.6.6", "lightning>=99")
    (tmp_path / "setup.cfg").write_text(setup)
    monkeypatch.setattr(doctor, "SETUP", tmp_path / "setup.cfg")
    monkeypatch.setattr("bitsandbytes.matmul_4bit", lambda inputs, packed, state: inputs[:, :128])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30))
    monkeypatch.setattr("medvl.documents.render.Sheet.text", "Temp 36.4")
    amiss = {what: found for what, well, found in doctor.examine(tmp_path) if not well}
    assert amiss.keys() == {"packages", "4-bit product", "fonts", "cache"}
    assert "1.0 GiB free" in amiss["cache"]
    assert "scipie is wanted, nothing is here; torch>=99 is wanted, 2." in amiss["packages"]
    assert "lightning>=99 is wanted, 2." in amiss["packages"] and "were malware" in amiss["packages"]
    assert "was drawn as 'Temp 36.4'" in amiss["fonts"] and "NF4 product is off by" in amiss["4-bit product"]
