"""Which drugs do not go together, or with a diagnosis, and which are usual for one."""

from __future__ import annotations

# What must not be given together counts as one class.
RIVALS = {
    "ARB": "ACE inhibitor", "ARNI": "ACE inhibitor", "SNRI": "SSRI", "topical NSAID": "NSAID",
    "non-dihydropyridine": "beta blocker", "heparin": "anticoagulant", "nonselective beta blocker": "beta blocker",
    "H2 blocker": "PPI",
}  # fmt: skip
# Classes and names of drugs that a diagnosis, a class or a drug rules out.
UNSAFE = {
    "hfref": {"non-dihydropyridine", "NSAID", "thiazolidinedione", "PDE3 inhibitor"},
    "hfacute": {"non-dihydropyridine", "NSAID", "thiazolidinedione", "PDE3 inhibitor"},
    "hfpef": {"NSAID", "thiazolidinedione", "PDE3 inhibitor"},
    "ckd3": {"NSAID"},
    "ckd4": {"NSAID", "biguanide", "nitrofuran", "sulfonylurea", "sulfonamide", "MRA", "mood stabilizer"},
    "dkd": {"NSAID"}, "aki": {"NSAID", "biguanide", "ACE inhibitor", "ARB"},
    "asthma": {"ophthalmic beta blocker", "nonselective beta blocker"},
    "gout": {"thiazide"}, "pud": {"NSAID", "salicylate", "corticosteroid"},
    "gib": {"NSAID", "salicylate", "anticoagulant", "P2Y12 inhibitor"}, "cad": {"NSAID", "triptan", "PDE5 inhibitor"},
    "nstemi": {"NSAID", "triptan", "PDE5 inhibitor"}, "cva": {"NSAID", "triptan", "estrogen"},
    "epilepsy": {"NDRI", "opioid"},
    "stroke": {"NSAID", "triptan", "estrogen"}, "cirrhosis": {"NSAID", "antimetabolite", "analgesic", "statin"},
    "dvt": {"estrogen"}, "pe": {"estrogen"}, "hypok": {"thiazide", "loop diuretic"},
    "hypona": {"thiazide"}, "parkinson": {"antipsychotic", "prokinetic"},
    "gastroparesis": {"GLP-1 agonist"}, "breast": {"estrogen"},
    "anticoagulant": {"NSAID", "salicylate"}, "NSAID": {"anticoagulant", "mood stabilizer", "antimetabolite"},
    "salicylate": {"anticoagulant"}, "opioid": {"benzodiazepine"}, "benzodiazepine": {"opioid"},
    "mood stabilizer": {"NSAID", "ACE inhibitor", "ARB", "thiazide", "loop diuretic"},
    "antimetabolite": {"sulfonamide"},
    "Clopidogrel": {"Omeprazole"}, "Tramadol": {"SSRI", "SNRI", "SARI"}, "Digoxin": {"Amiodarone"},
    "potassium": {"MRA"},
    "Simvastatin": {"Amlodipine", "Diltiazem ER", "Amiodarone"},
    "non-dihydropyridine": {"dihydropyridine"},
    "nitrate": {"PDE5 inhibitor"}, "sublingual nitrate": {"PDE5 inhibitor"}, "PDE5 inhibitor": {"nitrate",
    "sublingual nitrate"},
    "bipolar": {"SSRI", "SNRI", "NDRI"}, "sulfonamide": {"anticoagulant", "antimetabolite"},
    "opioid antagonist": {"opioid"},
    "protease inhibitor": {"statin", "anticoagulant", "antiarrhythmic", "alpha-1 blocker"},
}  # fmt: skip
# Where a diagnosis narrows the usual strengths.
ONLY = {
    ("Apixaban", "afib"): "5",
    ("Apixaban", "dvt"): "5", ("Apixaban", "pe"): "5", ("Rivaroxaban", "dvt"): "20", ("Rivaroxaban", "pe"): "20",
    ("Quetiapine", "schizophrenia"): "100 200", ("Quetiapine", "bipolar"): "50 100 200",
    ("Prednisone", "copdexac"): "40",
    ("Insulin glargine", "t2dm"): "10 14 18 22 26", ("Spironolactone", "cirrhosis"): "50 100",
    ("Cholecalciferol", "osteoporosis"): "1000 2000", ("Propranolol", "hyperthyroid"): "10 20 40",
    ("Duloxetine", "dpn"): "60", ("Atorvastatin", "nstemi"): "80 40", ("Atorvastatin", "stroke"): "80 40",
    ("Levofloxacin", "cap"): "750", ("Cefuroxime", "cap"): "500", ("Cefuroxime", "pyelo"): "500",
}  # fmt: skip
# Classes that are seldom the choice while others are left.
SELDOM = frozenset((
    "vasodilator", "alpha-2 agonist", "cholesterol absorption inhibitor", "cardiac glycoside", "hydantoin",
    "benzodiazepine", "opioid", "antiarrhythmic", "corticosteroid", "sublingual nitrate", "non-dihydropyridine",
))  # fmt: skip
