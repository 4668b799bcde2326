"""What cardiology knows: why it is consulted, what echo, ECG and blood show then, and which drugs follow."""

from __future__ import annotations

from dataclasses import dataclass

from medvl.documents.forms.orders import Order

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One reason for a consultation."""

    diagnoses: tuple[str, ...]
    reasons: tuple[str, ...]
    stories: tuple[str, ...]
    """{days} stands for a time that is drawn when the consultation is written."""
    ef: Range
    """Left ventricular ejection fraction in percent."""
    lvidd_mm: Range
    rvsp: Range
    """Right ventricular systolic pressure in mmHg, right atrial pressure included."""
    hr: Range
    rhythms: tuple[str, ...]
    troponin: Range
    """High-sensitivity troponin T in ng/L."""
    bnp: Range
    """NT-proBNP in pg/mL."""
    drugs: tuple[str, ...]
    """Keys of `DRUGS`, the mainstay first."""
    valve: str = ""
    """AS, MR or TR where that valve is the problem."""
    cath: float = 0
    """Share of patients who came from the catheter laboratory."""
    stent: bool = False
    ages: Range = (45, 98)
    advice: tuple[str, ...] = ("Telemetry", "Daily weights, strict I&O", "Follow up in clinic in 2 weeks")


PROBLEMS = (
    Problem(
        diagnoses=("Acute on chronic HFrEF", "HFrEF, ischemic cardiomyopathy", "Nonischemic cardiomyopathy"),
        reasons=("Decompensated heart failure", "Volume overload", "New LV dysfunction"),
        stories=("{days} days of worsening dyspnea, orthopnea and leg edema", "weight gain over {days} days with PND"),
        ef=(15, 38), lvidd_mm=(58, 74), rvsp=(38, 62), hr=(72, 112),
        rhythms=("Sinus rhythm, LBBB", "Sinus tachycardia", "Normal sinus rhythm", "AF"),
        troponin=(18, 62), bnp=(2400, 18500), cath=0.3,
        drugs=("furosemide iv", "metoprolol", "carvedilol", "sacubitril", "losartan", "spironolactone",
        "empagliflozin"),
        advice=("Daily weights, strict I&O", "2 g sodium diet", "ICD evaluation if EF <=35% after 3 months of GDMT"),
    ),
    Problem(
        diagnoses=("Acute HFpEF", "HFpEF with volume overload"), reasons=("Dyspnea, preserved EF", "Volume overload"),
        stories=("{days} days of exertional dyspnea and ankle edema",), ef=(52, 68), lvidd_mm=(40, 50), rvsp=(40, 62),
        hr=(62, 102), rhythms=("Normal sinus rhythm", "AF, rate controlled", "Sinus rhythm, LVH"), troponin=(12, 38),
        bnp=(620, 4200), drugs=("furosemide iv", "empagliflozin", "spironolactone", "losartan"), ages=(55, 98),
    ),
    Problem(
        diagnoses=("NSTEMI", "NSTEMI, type 1"), reasons=("Elevated troponin", "NSTEMI", "Chest pain, troponin rise"),
        stories=("{days} days of intermittent substernal pressure, at rest today", "rest angina with diaphoresis"),
        ef=(40, 60), lvidd_mm=(44, 56), rvsp=(22, 38), hr=(64, 104),
        rhythms=("Sinus rhythm, ST depression V4-V6", "Sinus tachycardia", "Normal sinus rhythm, inferior TWI"),
        troponin=(86, 2400), bnp=(180, 2200), cath=0.75, stent=True,
        drugs=("aspirin", "ticagrelor", "clopidogrel", "heparin", "atorvastatin", "metoprolol", "lisinopril"),
        advice=("NPO for LHC", "DAPT for 12 months", "Cardiac rehab referral"),
    ),
    Problem(
        diagnoses=("Anterior STEMI s/p PCI", "Inferior STEMI s/p PCI"), reasons=("STEMI", "Post-PCI care"),
        stories=("crushing chest pain for {days} hours before arrival",), ef=(34, 54), lvidd_mm=(46, 58), rvsp=(24, 40),
        hr=(68, 108), rhythms=("Sinus rhythm, ST elevation", "Sinus tachycardia, ST elevation"), troponin=(1800, 9800),
        bnp=(320, 4200), cath=1, stent=True, drugs=("aspirin", "ticagrelor", "clopidogrel", "atorvastatin",
        "metoprolol",
        "lisinopril", "spironolactone"), advice=("DAPT for 12 months", "Echo in 6 weeks", "Cardiac rehab referral"),
    ),
    Problem(
        diagnoses=("Atrial fibrillation with RVR", "Paroxysmal atrial fibrillation", "Persistent AF"),
        reasons=("AF with RVR", "Palpitations", "New-onset AF"),
        stories=("{days} days of palpitations and fatigue", "irregular heartbeat noticed {days} days ago"),
        ef=(48, 64), lvidd_mm=(42, 54), rvsp=(26, 44), hr=(104, 152), rhythms=("AF with RVR", "Atrial fibrillation"),
        troponin=(8, 34), bnp=(420, 2800), drugs=("apixaban", "metoprolol", "rivaroxaban", "diltiazem"), ages=(38, 98),
        advice=("TEE/DCCV if not converted", "TSH pending", "Rate goal <110"),
    ),
    Problem(
        diagnoses=("Aortic stenosis", "Symptomatic aortic stenosis"), reasons=("Syncope, murmur", "Systolic murmur"),
        stories=("exertional presyncope for {days} days", "chest tightness on stairs for {days} days"),
        ef=(48, 66), lvidd_mm=(40, 52), rvsp=(28, 48), hr=(58, 88), rhythms=("Normal sinus rhythm, LVH",
        "Sinus rhythm"),
        troponin=(12, 48), bnp=(480, 5200), valve="AS", cath=0.4, drugs=("furosemide po", "atorvastatin", "aspirin"),
        ages=(60, 98), advice=("CT TAVR protocol", "Avoid vasodilators", "Heart team discussion"),
    ),
    Problem(
        diagnoses=("Primary mitral regurgitation", "Mitral valve prolapse with MR"), reasons=("Murmur", "Dyspnea, MR"),
        stories=("{days} days of dyspnea on exertion",), ef=(54, 68), lvidd_mm=(52, 64), rvsp=(34, 58), hr=(62, 98),
        rhythms=("Normal sinus rhythm", "AF, rate controlled", "Sinus rhythm, PACs"), troponin=(6, 24), bnp=(220, 2400),
        valve="MR", drugs=("furosemide po", "lisinopril", "metoprolol"), advice=("TEE", "CT surgery referral"),
    ),
    Problem(
        diagnoses=("High-grade AV block", "Sick sinus syndrome", "Symptomatic bradycardia"),
        reasons=("Bradycardia", "Syncope"), stories=("{days} days of lightheadedness, one syncope",), ef=(52, 66),
        lvidd_mm=(42, 52), rvsp=(22, 36), hr=(34, 48), rhythms=("Sinus bradycardia, first degree AV block",
        "2:1 AV block", "Sinus bradycardia"), troponin=(6, 22), bnp=(120, 900), drugs=("atorvastatin", "lisinopril"),
        advice=("Hold AV nodal agents", "Dual-chamber pacemaker", "Transcutaneous pads at bedside"), ages=(58, 98),
    ),
    Problem(
        diagnoses=("Acute pericarditis", "Recurrent pericarditis"), reasons=("Pleuritic chest pain",),
        stories=("{days} days of sharp chest pain, better leaning forward",), ef=(55, 66), lvidd_mm=(42, 51),
        rvsp=(20, 32), hr=(72, 108), rhythms=("Sinus rhythm, diffuse ST elevation", "Sinus tachycardia, PR depression"),
        troponin=(4, 26), bnp=(40, 280), drugs=("ibuprofen", "colchicine"), ages=(20, 72),
        advice=("No strenuous exercise for 3 months", "Repeat CRP in 1 week"),
    ),
    Problem(
        diagnoses=("Pulmonary hypertension", "RV failure, group 3 PH"), reasons=("Elevated RVSP",
        "RV dilation on echo"),
        stories=("{days} days of dyspnea and near-syncope",), ef=(55, 68), lvidd_mm=(38, 48), rvsp=(58, 92), hr=(72,
        104),
        rhythms=("Sinus rhythm, RBBB", "Sinus tachycardia, right axis"), troponin=(14, 52), bnp=(680, 5200), valve="TR",
        drugs=("furosemide po", "spironolactone"), advice=("Right heart cath", "V/Q scan", "O2 to keep SpO2 >90%"),
    ),
)  # fmt: skip

DRUGS = {
    "furosemide iv": Order("furosemide", "40 mg|60 mg|80 mg", "IV", "BID|daily|q12h", "", "loop"),
    "furosemide po": Order("furosemide", "20 mg|40 mg|80 mg", "PO", "daily|BID", "", "loop"),
    "metoprolol": Order("metoprolol succinate", "25 mg|50 mg|100 mg", "PO", "daily", "", "rate"),
    "carvedilol": Order("carvedilol", "3.125 mg|6.25 mg|12.5 mg|25 mg", "PO", "BID", "", "rate"),
    "diltiazem": Order("diltiazem ER", "120 mg|180 mg|240 mg", "PO", "daily", "", "rate"),
    "sacubitril": Order("sacubitril/valsartan", "24/26 mg|49/51 mg|97/103 mg", "PO", "BID", "ace inhibitor", "ras"),
    "losartan": Order("losartan", "25 mg|50 mg", "PO", "daily", "", "ras"),
    "lisinopril": Order("lisinopril", "2.5 mg|5 mg|10 mg|20 mg", "PO", "daily", "ace inhibitor", "ras"),
    "spironolactone": Order("spironolactone", "12.5 mg|25 mg", "PO", "daily"),
    "empagliflozin": Order("empagliflozin", "10 mg", "PO", "daily|qAM"),
    "aspirin": Order("aspirin", "81 mg", "PO", "daily", "nsaid"),
    "clopidogrel": Order("clopidogrel", "75 mg", "PO", "daily", "", "p2y12"),
    "ticagrelor": Order("ticagrelor", "90 mg", "PO", "BID", "", "p2y12"),
    "heparin": Order("heparin", "12 units/kg/h", "IV", "continuous", "heparin", "anticoagulant"),
    "apixaban": Order("apixaban", "5 mg", "PO", "BID|q12h", "", "anticoagulant"),
    "rivaroxaban": Order("rivaroxaban", "20 mg", "PO", "daily with supper", "", "anticoagulant"),
    "atorvastatin": Order("atorvastatin", "40 mg|80 mg", "PO", "qHS|daily", "statin"),
    "ibuprofen": Order("ibuprofen", "600 mg|800 mg", "PO", "TID|q8h", "nsaid"),
    "colchicine": Order("colchicine", "0.6 mg", "PO", "BID|daily"),
}

# Vessels, and stents by diameter x length in mm.
VESSELS = (
    "proximal LAD",
    "mid LAD",
    "D1",
    "proximal LCx",
    "OM1",
    "OM2",
    "proximal RCA",
    "mid RCA",
    "distal RCA",
    "PDA",
)
STENTS = ("2.5 x 15", "2.5 x 18", "2.75 x 22", "3.0 x 15", "3.0 x 18", "3.0 x 28", "3.5 x 18", "3.5 x 24", "4.0 x 15")
