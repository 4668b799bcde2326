"""Drugs as adults take them: real strengths, routes and frequencies, each with what it is for and whom it endangers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Drug:
    """One row of the formulary below."""

    name: str
    brand: str
    group: str
    """Pharmacological class; two drugs of one class are not taken together."""
    form: str
    """tab, cap, pack, inhaler, pen, injection, drops, spray, patch, cream, powder, solution."""
    strengths: str
    """Usual single doses, parted by spaces."""
    unit: str
    route: str
    """Key of `regimens.ROUTES`."""
    frequencies: str
    """Keys of `regimens.FREQUENCIES`, parted by spaces."""
    indications: str
    """Keys of `diagnoses.DIAGNOSES`, parted by spaces, the usual one first."""
    most: float
    """The largest dose of one day in `unit`; of one dose where it is taken weekly."""
    allergy: str = ""
    """Cross-allergy groups as `allergens.ALLERGENS` names them, parted by commas."""
    days: str = ""
    """Usual lengths of a course in days; empty: taken for good."""

    @property
    def allergies(self) -> frozenset[str]:
        return frozenset(filter(None, self.allergy.split(",")))


# Doses and daily maxima are those of adult labels in the United States.
DRUGS: dict[str, Drug] = {row[0]: Drug(*row) for row in (
    # heart and vessels
    ("Lisinopril", "Zestril", "ACE inhibitor", "tab", "5 10 20 40", "mg", "po", "daily", "htn hfref dkd cad",
     80, "ace inhibitor"),
    ("Enalapril", "Vasotec", "ACE inhibitor", "tab", "2.5 5 10 20", "mg", "po", "bid", "hfref htn", 40,
     "ace inhibitor"),
    ("Ramipril", "Altace", "ACE inhibitor", "cap", "2.5 5 10", "mg", "po", "daily", "htn cad nstemi", 20,
     "ace inhibitor"),
    ("Losartan", "Cozaar", "ARB", "tab", "25 50 100", "mg", "po", "daily", "htn dkd", 100),
    ("Valsartan", "Diovan", "ARB", "tab", "80 160 320", "mg", "po", "daily", "htn hfpef", 320),
    ("Olmesartan", "Benicar", "ARB", "tab", "20 40", "mg", "po", "daily", "htn", 40),
    ("Sacubitril-valsartan", "Entresto", "ARNI", "tab", "24/26 49/51 97/103", "mg", "po", "bid", "hfref", 400,
     "ace inhibitor"),
    ("Amlodipine", "Norvasc", "dihydropyridine", "tab", "2.5 5 10", "mg", "po", "daily", "htn cad", 10),
    ("Nifedipine ER", "Procardia XL", "dihydropyridine", "tab", "30 60 90", "mg", "po", "daily", "htn", 120),
    ("Diltiazem ER", "Cardizem CD", "non-dihydropyridine", "cap", "120 180 240", "mg", "po", "daily", "afib htn", 480),
    ("Metoprolol succinate", "Toprol-XL", "beta blocker", "tab", "25 50 100", "mg", "po", "daily",
     "hfref cad afib nstemi", 400),
    ("Metoprolol tartrate", "Lopressor", "beta blocker", "tab", "25 50 100", "mg", "po", "bid", "afib cad nstemi", 450),
    ("Carvedilol", "Coreg", "nonselective beta blocker", "tab", "3.125 6.25 12.5 25", "mg", "po", "bid", "hfref", 100),
    ("Atenolol", "Tenormin", "beta blocker", "tab", "25 50 100", "mg", "po", "daily", "htn cad", 100),
    ("Propranolol", "Inderal", "nonselective beta blocker", "tab", "10 20 40", "mg", "po", "bid tid",
     "migraine hyperthyroid", 320),
    ("Hydrochlorothiazide", "Microzide", "thiazide", "tab", "12.5 25", "mg", "po", "daily qam", "htn", 50),
    ("Chlorthalidone", "Thalitone", "thiazide", "tab", "12.5 25", "mg", "po", "daily qam", "htn", 50),
    ("Furosemide", "Lasix", "loop diuretic", "tab", "20 40 80", "mg", "po", "daily bid", "hfref hfpef hfacute", 600),
    ("Torsemide", "Demadex", "loop diuretic", "tab", "10 20 40", "mg", "po", "daily", "hfref hfacute", 200),
    ("Spironolactone", "Aldactone", "MRA", "tab", "25 50 100", "mg", "po", "daily", "hfref hfpef cirrhosis", 100),
    ("Hydralazine", "Apresoline", "vasodilator", "tab", "10 25 50", "mg", "po", "tid", "htn", 300),
    ("Clonidine", "Catapres", "alpha-2 agonist", "tab", "0.1 0.2", "mg", "po", "bid", "htn", 0.6),
    ("Isosorbide mononitrate ER", "Imdur", "nitrate", "tab", "30 60 120", "mg", "po", "qam", "cad", 240),
    ("Nitroglycerin", "Nitrostat", "sublingual nitrate", "tab", "0.4", "mg", "sl", "q5minp", "cad nstemi", 1.2),
    ("Atorvastatin", "Lipitor", "statin", "tab", "10 20 40 80", "mg", "po", "daily qhs",
     "hld cad cva nstemi stroke", 80, "statin"),
    ("Rosuvastatin", "Crestor", "statin", "tab", "5 10 20 40", "mg", "po", "daily", "hld cad pad", 40, "statin"),
    ("Simvastatin", "Zocor", "statin", "tab", "10 20 40", "mg", "po", "qhs", "hld", 40, "statin"),
    ("Pravastatin", "Pravachol", "statin", "tab", "20 40 80", "mg", "po", "qhs", "hld", 80, "statin"),
    ("Ezetimibe", "Zetia", "cholesterol absorption inhibitor", "tab", "10", "mg", "po", "daily", "hld cad", 10),
    ("Fenofibrate", "Tricor", "fibrate", "tab", "48 145", "mg", "po", "daily", "hypertg", 145),
    ("Aspirin EC", "Ecotrin", "salicylate", "tab", "81", "mg", "po", "daily", "cad cva pad nstemi stroke", 325,
     "nsaid"),
    ("Clopidogrel", "Plavix", "P2Y12 inhibitor", "tab", "75", "mg", "po", "daily", "cad cva pad nstemi stroke", 75),
    ("Ticagrelor", "Brilinta", "P2Y12 inhibitor", "tab", "90", "mg", "po", "bid", "nstemi", 180),
    ("Apixaban", "Eliquis", "anticoagulant", "tab", "2.5 5", "mg", "po", "bid", "afib dvt pe", 20),
    ("Rivaroxaban", "Xarelto", "anticoagulant", "tab", "15 20", "mg", "po", "daily", "afib dvt pe", 30),
    ("Warfarin", "Coumadin", "anticoagulant", "tab", "2.5 5 7.5", "mg", "po", "daily qhs", "afib dvt pe", 10),
    ("Enoxaparin", "Lovenox", "heparin", "injection", "40", "mg", "sc", "daily", "hip", 240, "heparin", "14 28"),
    ("Amiodarone", "Pacerone", "antiarrhythmic", "tab", "100 200", "mg", "po", "daily", "afib", 400),
    ("Digoxin", "Lanoxin", "cardiac glycoside", "tab", "0.125 0.25", "mg", "po", "daily", "afib hfref", 0.25),
    ("Cilostazol", "Pletal", "PDE3 inhibitor", "tab", "50 100", "mg", "po", "bid", "pad", 200),
    ("Potassium chloride ER", "Klor-Con", "potassium", "tab", "10 20", "mEq", "po", "daily bid", "hypok", 100),
    # sugar, thyroid, bone, weight
    ("Metformin", "Glucophage", "biguanide", "tab", "500 850 1000", "mg", "po", "bid daily", "t2dm pcos", 2550,
     "biguanide"),
    ("Glipizide", "Glucotrol", "sulfonylurea", "tab", "5 10", "mg", "po", "daily bid", "t2dm", 40),
    ("Glimepiride", "Amaryl", "sulfonylurea", "tab", "1 2 4", "mg", "po", "daily qam", "t2dm", 8),
    ("Sitagliptin", "Januvia", "DPP-4 inhibitor", "tab", "50 100", "mg", "po", "daily", "t2dm", 100),
    ("Empagliflozin", "Jardiance", "SGLT2 inhibitor", "tab", "10 25", "mg", "po", "qam daily",
     "t2dm hfref hfpef dkd", 25),
    ("Dapagliflozin", "Farxiga", "SGLT2 inhibitor", "tab", "5 10", "mg", "po", "daily", "t2dm hfref", 10),
    ("Semaglutide", "Ozempic", "GLP-1 agonist", "pen", "0.25 0.5 1", "mg", "sc", "weekly", "t2dm", 2),
    ("Dulaglutide", "Trulicity", "GLP-1 agonist", "pen", "0.75 1.5 3", "mg", "sc", "weekly", "t2dm", 4.5),
    ("Pioglitazone", "Actos", "thiazolidinedione", "tab", "15 30", "mg", "po", "daily", "t2dm", 45),
    ("Insulin glargine", "Lantus", "basal insulin", "pen", "10 14 18 22 26 30 36", "units", "sc", "qhs",
     "t1dm t2dm dka", 80),
    ("Insulin lispro", "Humalog", "mealtime insulin", "pen", "4 5 6 8 10 12", "units", "sc", "tidac", "t1dm dka", 100),
    ("Levothyroxine", "Synthroid", "thyroid hormone", "tab", "25 50 75 88 100 112 125", "mcg", "po",
     "qam daily", "hypothyroid", 300),
    ("Methimazole", "Tapazole", "antithyroid", "tab", "5 10", "mg", "po", "daily bid", "hyperthyroid", 40),
    ("Alendronate", "Fosamax", "bisphosphonate", "tab", "70", "mg", "po", "weekly", "osteoporosis", 70),
    ("Cholecalciferol", "Vitamin D3", "vitamin D", "tab", "1000 2000 5000", "units", "po", "daily",
     "vitd osteoporosis", 10000),
    ("Calcium carbonate", "Os-Cal", "calcium", "tab", "500 600", "mg", "po", "bid", "osteoporosis", 2500),
    ("Allopurinol", "Zyloprim", "xanthine oxidase inhibitor", "tab", "100 200 300", "mg", "po", "daily",
     "gout", 800, "allopurinol"),
    ("Colchicine", "Colcrys", "antigout", "tab", "0.6", "mg", "po", "daily bid", "gout", 1.2),
    # lungs and nose
    ("Albuterol HFA", "Ventolin", "SABA", "inhaler", "2", "puff", "inh", "q4hp q6hp",
     "asthma copd copdexac bronchitis", 12),
    ("Tiotropium", "Spiriva", "LAMA", "inhaler", "2", "puff", "inh", "daily", "copd copdexac", 2),
    ("Fluticasone-salmeterol", "Advair", "ICS/LABA", "inhaler", "1", "puff", "inh", "bid", "copd asthma", 2),
    ("Budesonide-formoterol", "Symbicort", "ICS/LABA", "inhaler", "2", "puff", "inh", "bid", "asthma copd", 4),
    ("Montelukast", "Singulair", "leukotriene antagonist", "tab", "10", "mg", "po", "qhs", "asthma rhinitis", 10),
    ("Fluticasone nasal", "Flonase", "nasal steroid", "spray", "1 2", "spray", "nasal", "daily",
     "rhinitis sinusitis", 4),
    ("Cetirizine", "Zyrtec", "antihistamine", "tab", "10", "mg", "po", "daily", "rhinitis", 10),
    ("Loratadine", "Claritin", "antihistamine", "tab", "10", "mg", "po", "daily", "rhinitis", 10),
    ("Benzonatate", "Tessalon", "antitussive", "cap", "100 200", "mg", "po", "tidp", "bronchitis covid", 600,
     "", "7 10"),
    ("Prednisone", "Deltasone", "corticosteroid", "tab", "20 40", "mg", "po", "daily qam",
     "copdexac asthma ra gout", 80, "", "5 7"),
    # stomach and bowel
    ("Omeprazole", "Prilosec", "PPI", "cap", "20 40", "mg", "po", "daily bid", "gerd pud", 80),
    ("Pantoprazole", "Protonix", "PPI", "tab", "20 40", "mg", "po", "daily bid", "gerd pud gib", 80),
    ("Famotidine", "Pepcid", "H2 blocker", "tab", "20 40", "mg", "po", "bid qhs", "gerd", 80),
    ("Ondansetron ODT", "Zofran", "antiemetic", "tab", "4 8", "mg", "po", "q8hp", "nausea pancreatitis", 24, "", "3 5"),
    ("Metoclopramide", "Reglan", "prokinetic", "tab", "5 10", "mg", "po", "tidac", "gastroparesis", 40),
    ("Polyethylene glycol", "MiraLAX", "osmotic laxative", "powder", "17", "g", "po", "daily dailyp",
     "constipation", 34),
    ("Senna", "Senokot", "stimulant laxative", "tab", "8.6", "mg", "po", "qhs bid", "constipation", 68.8),
    ("Docusate", "Colace", "stool softener", "cap", "100", "mg", "po", "bid", "constipation hip", 400),
    ("Mesalamine", "Lialda", "aminosalicylate", "tab", "1200 2400", "mg", "po", "daily", "uc", 4800, "nsaid"),
    ("Dicyclomine", "Bentyl", "antispasmodic", "tab", "20", "mg", "po", "qidp tidp", "ibs", 80),
    ("Lactulose", "Enulose", "ammonia detoxicant", "solution", "20", "g", "po", "bid tid", "cirrhosis", 100),
    # nerves and mind
    ("Sertraline", "Zoloft", "SSRI", "tab", "25 50 100", "mg", "po", "daily", "mdd gad ptsd panic", 200),
    ("Escitalopram", "Lexapro", "SSRI", "tab", "5 10 20", "mg", "po", "daily", "mdd gad", 20),
    ("Fluoxetine", "Prozac", "SSRI", "cap", "10 20 40", "mg", "po", "qam daily", "mdd panic", 80),
    ("Duloxetine", "Cymbalta", "SNRI", "cap", "30 60", "mg", "po", "daily", "mdd fibromyalgia dpn", 120),
    ("Venlafaxine XR", "Effexor XR", "SNRI", "cap", "37.5 75 150", "mg", "po", "daily", "mdd gad", 225),
    ("Bupropion XL", "Wellbutrin XL", "NDRI", "tab", "150 300", "mg", "po", "qam", "mdd tobacco", 450),
    ("Mirtazapine", "Remeron", "tetracyclic", "tab", "7.5 15 30", "mg", "po", "qhs", "mdd", 45),
    ("Trazodone", "Desyrel", "SARI", "tab", "50 100", "mg", "po", "qhs qhsp", "insomnia", 400),
    ("Buspirone", "Buspar", "azapirone", "tab", "5 10 15", "mg", "po", "bid tid", "gad", 60),
    ("Lorazepam", "Ativan", "benzodiazepine", "tab", "0.5 1", "mg", "po", "bidp", "panic gad", 10, "", "7 14"),
    ("Quetiapine", "Seroquel", "antipsychotic", "tab", "25 50 100 200", "mg", "po", "qhs bid",
     "bipolar schizophrenia", 800),
    ("Risperidone", "Risperdal", "antipsychotic", "tab", "1 2 3", "mg", "po", "bid qhs", "schizophrenia", 8),
    ("Lithium carbonate", "Lithobid", "mood stabilizer", "tab", "300 450", "mg", "po", "bid", "bipolar", 1800),
    ("Lamotrigine", "Lamictal", "lamotrigine", "tab", "25 100 150 200", "mg", "po", "daily bid",
     "epilepsy bipolar", 400, "aromatic anticonvulsant"),
    ("Levetiracetam", "Keppra", "levetiracetam", "tab", "500 750 1000", "mg", "po", "bid", "epilepsy", 3000),
    ("Phenytoin ER", "Dilantin", "hydantoin", "cap", "100", "mg", "po", "tid", "epilepsy", 600,
     "aromatic anticonvulsant"),
    ("Gabapentin", "Neurontin", "gabapentinoid", "cap", "100 300 400", "mg", "po", "tid",
     "dpn zoster radiculopathy", 3600),
    ("Pregabalin", "Lyrica", "gabapentinoid", "cap", "50 75 150", "mg", "po", "bid", "fibromyalgia dpn", 600),
    ("Topiramate", "Topamax", "topiramate", "tab", "25 50 100", "mg", "po", "bid qhs", "migraine epilepsy", 400),
    ("Sumatriptan", "Imitrex", "triptan", "tab", "50 100", "mg", "po", "dailyp", "migraine", 200, "", "9"),
    ("Donepezil", "Aricept", "cholinesterase inhibitor", "tab", "5 10", "mg", "po", "qhs", "alzheimer", 10),
    ("Memantine", "Namenda", "NMDA antagonist", "tab", "5 10", "mg", "po", "bid", "alzheimer", 20),
    ("Carbidopa-levodopa", "Sinemet", "dopaminergic", "tab", "25/100 25/250", "mg", "po", "tid", "parkinson", 2000),
    ("Ropinirole", "Requip", "dopamine agonist", "tab", "0.25 0.5 1", "mg", "po", "qhs", "rls", 4),
    ("Meclizine", "Antivert", "vestibular suppressant", "tab", "12.5 25", "mg", "po", "tidp", "bppv", 100, "", "5 7"),
    # pain and joints
    ("Acetaminophen", "Tylenol", "analgesic", "tab", "500 650 1000", "mg", "po", "q6hp q8hp",
     "oa radiculopathy hip covid", 4000),
    ("Ibuprofen", "Motrin", "NSAID", "tab", "400 600 800", "mg", "po", "q6hp q8hp", "oa radiculopathy", 3200,
     "nsaid", "7 10"),
    ("Naproxen", "Naprosyn", "NSAID", "tab", "250 500", "mg", "po", "bid", "oa radiculopathy ra", 1500,
     "nsaid", "10 14"),
    ("Meloxicam", "Mobic", "NSAID", "tab", "7.5 15", "mg", "po", "daily", "oa ra", 15, "nsaid"),
    ("Celecoxib", "Celebrex", "NSAID", "cap", "100 200", "mg", "po", "bid daily", "oa ra", 400, "nsaid,sulfa"),
    ("Tramadol", "Ultram", "opioid", "tab", "50", "mg", "po", "q6hp", "radiculopathy oa", 400, "opioid", "3 5 7"),
    ("Oxycodone IR", "Roxicodone", "opioid", "tab", "5 10", "mg", "po", "q6hp q4hp", "hip stone", 60, "opioid", "3 5"),
    ("Cyclobenzaprine", "Flexeril", "muscle relaxant", "tab", "5 10", "mg", "po", "tidp qhs", "radiculopathy",
     30, "", "7 10"),
    ("Diclofenac gel 1%", "Voltaren", "topical NSAID", "cream", "2 4", "g", "top", "qid", "oa", 32, "nsaid"),
    ("Lidocaine 5% patch", "Lidoderm", "topical anesthetic", "patch", "1", "patch", "td", "daily", "zoster", 3),
    ("Methotrexate", "Trexall", "antimetabolite", "tab", "7.5 10 15", "mg", "po", "weekly", "ra psoriasis", 25),
    ("Folic acid", "Folvite", "folate", "tab", "1", "mg", "po", "daily", "ra", 1),
    ("Hydroxychloroquine", "Plaquenil", "antimalarial", "tab", "200", "mg", "po", "daily bid", "sle ra", 400),
    # infection
    ("Amoxicillin", "Amoxil", "aminopenicillin", "cap", "500", "mg", "po", "tid", "strep", 3000, "penicillin", "10"),
    ("Amoxicillin-clavulanate", "Augmentin", "aminopenicillin", "tab", "875/125", "mg", "po", "bid",
     "sinusitis diverticulitis cap", 2000, "penicillin", "7 10"),
    ("Cephalexin", "Keflex", "cephalosporin", "cap", "500", "mg", "po", "qid", "cellulitis uti", 4000,
     "cephalosporin,penicillin", "5 7"),
    ("Cefuroxime", "Ceftin", "cephalosporin", "tab", "250 500", "mg", "po", "bid", "cap sinusitis pyelo", 1000,
     "cephalosporin", "7 10"),
    ("Azithromycin", "Zithromax", "macrolide", "tab", "500", "mg", "po", "daily", "cap copdexac", 500,
     "macrolide", "3"),
    ("Doxycycline", "Vibramycin", "tetracycline", "cap", "100", "mg", "po", "bid",
     "cellulitis cap sinusitis", 200, "tetracycline", "7 10"),
    ("Ciprofloxacin", "Cipro", "fluoroquinolone", "tab", "500", "mg", "po", "bid", "pyelo diverticulitis",
     1500, "fluoroquinolone", "7"),
    ("Moxifloxacin", "Avelox", "fluoroquinolone", "tab", "400", "mg", "po", "daily", "diverticulitis cap", 400,
     "fluoroquinolone", "7"),
    ("Levofloxacin", "Levaquin", "fluoroquinolone", "tab", "500 750", "mg", "po", "daily", "cap pyelo sepsis",
     750, "fluoroquinolone", "5 7"),
    ("Trimethoprim-sulfamethoxazole DS", "Bactrim DS", "sulfonamide", "tab", "800/160", "mg", "po", "bid",
     "uti cellulitis pyelo", 3200, "sulfa", "7"),
    ("Nitrofurantoin", "Macrobid", "nitrofuran", "cap", "100", "mg", "po", "bid", "uti", 200, "nitrofuran", "5 7"),
    ("Clindamycin", "Cleocin", "lincosamide", "cap", "300", "mg", "po", "qid tid", "cellulitis", 1800,
     "lincosamide", "7 10"),
    ("Metronidazole", "Flagyl", "nitroimidazole", "tab", "500", "mg", "po", "q8h", "cdiff", 2000, "", "7 10"),
    ("Vancomycin oral", "Vancocin", "glycopeptide", "cap", "125", "mg", "po", "qid", "cdiff", 2000,
     "glycopeptide", "10"),
    ("Valacyclovir", "Valtrex", "antiviral", "tab", "1000", "mg", "po", "tid", "zoster", 3000, "", "7"),
    ("Oseltamivir", "Tamiflu", "neuraminidase inhibitor", "cap", "75", "mg", "po", "bid", "influenza", 150, "", "5"),
    ("Nirmatrelvir-ritonavir", "Paxlovid", "protease inhibitor", "pack", "300/100", "mg", "po", "bid", "covid",
     800, "", "5"),
    # water, hormones, blood, skin, eyes
    ("Tamsulosin", "Flomax", "alpha-1 blocker", "cap", "0.4", "mg", "po", "qhs", "bph stone", 0.8),
    ("Finasteride", "Proscar", "5-ARI", "tab", "5", "mg", "po", "daily", "bph", 5),
    ("Sildenafil", "Viagra", "PDE5 inhibitor", "tab", "25 50 100", "mg", "po", "dailyp", "ed", 100, "", "10"),
    ("Oxybutynin ER", "Ditropan XL", "antimuscarinic", "tab", "5 10", "mg", "po", "daily", "oab", 30),
    ("Mirabegron", "Myrbetriq", "beta-3 agonist", "tab", "25 50", "mg", "po", "daily", "oab", 50),
    ("Bicalutamide", "Casodex", "antiandrogen", "tab", "50", "mg", "po", "daily", "prostate", 50),
    ("Estradiol", "Estrace", "estrogen", "tab", "0.5 1", "mg", "po", "daily", "menopause", 2),
    ("Norethindrone acetate", "Aygestin", "progestin", "tab", "5", "mg", "po", "daily", "endometriosis", 15),
    ("Letrozole", "Femara", "aromatase inhibitor", "tab", "2.5", "mg", "po", "daily", "breast", 2.5),
    ("Ferrous sulfate", "Feosol", "iron", "tab", "325", "mg", "po", "daily bid", "ida", 975),
    ("Cyanocobalamin", "Vitamin B12", "vitamin B12", "tab", "500 1000", "mcg", "po", "daily", "b12", 2000),
    ("Triamcinolone 0.1% cream", "Kenalog", "topical steroid", "cream", "1", "g", "top", "bid",
     "eczema psoriasis", 8, "", "14"),
    ("Tretinoin 0.025% cream", "Retin-A", "topical retinoid", "cream", "1", "application", "top", "qhs", "acne", 1),
    ("Latanoprost 0.005%", "Xalatan", "prostaglandin analog", "drops", "1", "drop", "ou", "qhs", "glaucoma", 1),
    ("Timolol 0.5%", "Timoptic", "ophthalmic beta blocker", "drops", "1", "drop", "ou", "bid", "glaucoma", 2),
    ("Nicotine patch 21 mg", "NicoDerm", "nicotine", "patch", "1", "patch", "td", "daily", "tobacco", 1),
    ("Naltrexone", "Revia", "opioid antagonist", "tab", "50", "mg", "po", "daily", "alcohol", 50),
)}  # fmt: skip
