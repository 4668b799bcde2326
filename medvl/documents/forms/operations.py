"""What operating rooms know: procedures with why they are done, what is found, how long they take and what they cost.

Lines of `findings` may hold {low-high unit} for a length that is drawn when the note is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from medvl.documents.forms.orders import Order

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One procedure."""

    names: tuple[str, ...]
    specialty: str
    diagnoses: tuple[str, ...]
    findings: tuple[str, ...]
    minutes: Range
    ebl_ml: Range
    specimen: tuple[str, ...] = ()
    drains: tuple[str, ...] = ()
    implants: tuple[tuple[str, str], ...] = ()
    """What stays in the patient, and its possible sizes, parted by bars."""
    measures: tuple[tuple[str, str, float, float, float, str], ...] = ()
    """Further numbers of the note: path, label, low, high, step, unit."""
    anesthesia: tuple[str, ...] = ("General endotracheal", "GETA", "General")
    sex: str = ""
    """M or F where only one sex has the organ."""
    ages: Range = (18, 98)
    sided: bool = False
    urgent: bool = False


OPERATIONS = (
    Operation(
        names=("Laparoscopic cholecystectomy", "Lap chole with IOC", "Laparoscopic cholecystectomy with IOC"),
        specialty="General Surgery", diagnoses=("Acute cholecystitis", "Symptomatic cholelithiasis",
        "Gallstone pancreatitis", "Chronic cholecystitis", "Biliary dyskinesia"),
        findings=("Distended, edematous gallbladder with {4-12 mm} stones", "Critical view of safety obtained",
        "Dense omental adhesions to gallbladder", "Cystic duct {3-6 mm}, clipped x3"),
        minutes=(42, 118), ebl_ml=(5, 60), specimen=("Gallbladder",), drains=("None", "None", "19 Fr Blake drain, RUQ"),
    ),
    Operation(
        names=("Laparoscopic appendectomy", "Lap appendectomy", "Open appendectomy"), specialty="General Surgery",
        diagnoses=("Acute appendicitis", "Perforated appendicitis", "Acute appendicitis with abscess"),
        findings=("Appendix dilated to {9-17 mm}, inflamed", "Purulent fluid in RLQ and pelvis",
        "{3-8 mm} fecalith at base", "Cecum and terminal ileum normal"),
        minutes=(32, 96), ebl_ml=(5, 50), specimen=("Appendix",), drains=("None", "None", "JP drain, pelvis"),
        urgent=True,
    ),
    Operation(
        names=("Open inguinal hernia repair with mesh", "Laparoscopic inguinal hernia repair (TEP)",
        "Lichtenstein inguinal hernia repair"), specialty="General Surgery",
        diagnoses=("Inguinal hernia", "Incarcerated inguinal hernia", "Recurrent inguinal hernia"),
        findings=("Indirect sac with {2-4 cm} defect", "Direct floor weakness, {2-4 cm}", "Cord lipoma reduced",
        "Ilioinguinal nerve identified and preserved"),
        minutes=(38, 110), ebl_ml=(5, 40), implants=(("Polypropylene mesh", "7.6 x 15 cm|10 x 15 cm|9 x 13 cm"),),
        anesthesia=("General", "MAC with local", "Spinal"), sided=True,
    ),
    Operation(
        names=("Laparoscopic right hemicolectomy", "Right hemicolectomy, open", "Robotic right colectomy"),
        specialty="Colorectal Surgery",
        diagnoses=("Cecal adenocarcinoma", "Ascending colon cancer", "Unresectable cecal polyp"),
        findings=("{3-7 cm} mass in ascending colon", "No liver metastases seen", "No peritoneal implants",
        "Side-to-side stapled anastomosis, tension free"),
        minutes=(118, 240), ebl_ml=(50, 350), specimen=("Right colon with terminal ileum",),
        drains=("None", "None", "JP drain, right gutter"),
    ),
    Operation(
        names=("Laparoscopic sigmoid colectomy", "Sigmoid colectomy with end colostomy", "Sigmoidectomy"),
        specialty="Colorectal Surgery",
        diagnoses=("Perforated diverticulitis", "Recurrent sigmoid diverticulitis"),
        findings=("{5-12 cm} phlegmon of sigmoid", "Left ureter identified and preserved",
        "Pelvic abscess, {3-6 cm}, drained", "Rest of colon normal"),
        minutes=(125, 260), ebl_ml=(75, 450), specimen=("Sigmoid colon",), drains=("19 Fr Blake drain, pelvis", "None"),
    ),
    Operation(
        names=("Total thyroidectomy", "Thyroid lobectomy with isthmusectomy", "Completion thyroidectomy"),
        specialty="Endocrine Surgery",
        diagnoses=("Papillary thyroid carcinoma", "Multinodular goiter", "Graves disease", "Follicular neoplasm"),
        findings=("Firm {12-38 mm} nodule", "Recurrent laryngeal nerve intact, signal good",
        "Parathyroids identified, viable", "No enlarged central nodes"),
        minutes=(78, 190), ebl_ml=(10, 80), specimen=("Thyroid, oriented",),
        drains=("None", "10 Fr JP drain, neck"),
    ),
    Operation(
        names=("Total knee arthroplasty", "TKA", "Total knee replacement"), specialty="Orthopaedics",
        diagnoses=("Knee osteoarthritis", "End-stage OA of knee", "Post-traumatic knee arthritis"),
        findings=("Grade 4 chondral loss, medial compartment", "Flexion contracture {5-15 degrees}",
        "Stable in full extension and 90 degrees", "Patella tracks centrally"),
        minutes=(64, 132), ebl_ml=(50, 300), sided=True, ages=(45, 90), drains=("None", "None", "Hemovac"),
        implants=(("Femoral component", "size 3|size 4|size 5|size 6|size 7"),
        ("Tibial baseplate", "size 2|size 3|size 4|size 5|size 6"), ("Polyethylene insert", "9 mm|10 mm|11 mm|13 mm"),
        ("Patellar button", "29 mm|32 mm|35 mm|38 mm")),
        measures=(("tourniquet_time", "Tourniquet", 42, 98, 1, "min"), ("tourniquet_pressure", "Tourniquet pressure",
        250, 300, 25, "mmHg")), anesthesia=("Spinal + adductor canal block", "Spinal", "General + block"),
    ),
    Operation(
        names=("Total hip arthroplasty", "THA, posterior approach", "THA, direct anterior approach"),
        specialty="Orthopaedics", diagnoses=("Hip osteoarthritis", "Avascular necrosis of femoral head",
        "Displaced femoral neck fracture"),
        findings=("Femoral head with full-thickness cartilage loss", "Hip stable to 90 degrees flexion",
        "Leg lengths equal within {2-5 mm}", "Acetabulum reamed to bleeding bone"),
        minutes=(68, 140), ebl_ml=(120, 500), sided=True, ages=(45, 92), specimen=("Femoral head",),
        implants=(("Acetabular cup", "48 mm|50 mm|52 mm|54 mm|56 mm"), ("Femoral stem", "size 3|size 4|size 5|size 6"),
        ("Ceramic head", "32 mm, +0|36 mm, +0|36 mm, +4|32 mm, +4")), anesthesia=("Spinal", "General"),
    ),
    Operation(
        names=("ORIF distal radius", "Open reduction internal fixation, distal radius"), specialty="Orthopaedics",
        diagnoses=("Displaced distal radius fracture", "Intra-articular distal radius fracture"),
        findings=("Dorsal comminution", "Articular step-off {1-4 mm}, reduced", "Median nerve intact",
        "Fluoroscopy: screws extra-articular"), minutes=(48, 112), ebl_ml=(5, 50), sided=True, urgent=True,
        implants=(("Volar locking plate", "3-hole|4-hole|5-hole"), ("Locking screws", "2.4 x 18 mm|2.4 x 20 mm")),
        measures=(("tourniquet_time", "Tourniquet", 38, 88, 1, "min"),),
        anesthesia=("Supraclavicular block + MAC", "General (LMA)"),
    ),
    Operation(
        names=("Cephalomedullary nailing, femur", "Hip fracture IM nailing", "ORIF hip with intramedullary nail"),
        specialty="Orthopaedics", diagnoses=("Intertrochanteric hip fracture", "Subtrochanteric femur fracture"),
        findings=("Closed reduction on fracture table", "Tip-apex distance {14-23 mm}",
        "Alignment anatomic on AP/lateral"),
        minutes=(48, 120), ebl_ml=(80, 400), sided=True, ages=(58, 98), urgent=True,
        implants=(("Cephalomedullary nail", "10 x 180 mm|11 x 180 mm|11 x 360 mm|12 x 380 mm"),
        ("Lag screw", "85 mm|90 mm|95 mm|100 mm|105 mm")), anesthesia=("Spinal", "General endotracheal"),
    ),
    Operation(
        names=("CABG x3, LIMA and SVG x2", "Coronary artery bypass grafting x3", "CABG x3"),
        specialty="Cardiac Surgery", diagnoses=("Three-vessel CAD", "Left main CAD", "NSTEMI, multivessel CAD"),
        findings=("LVEF {35-60 %} by TEE", "Good quality conduits", "Diffuse distal RCA disease",
        "No significant MR on TEE"),
        minutes=(210, 345), ebl_ml=(300, 900), ages=(42, 84), drains=("Mediastinal x2 + L pleural 32 Fr",
        "Two mediastinal, one left pleural tube"),
        implants=(("LIMA to LAD", "1.5 mm|1.75 mm|2.0 mm"), ("SVG to OM1", "1.5 mm|1.75 mm|2.0 mm"),
        ("SVG to PDA", "1.5 mm|1.75 mm|2.0 mm")),
        measures=(("bypass_time", "CPB time", 78, 142, 1, "min"), ("clamp_time", "Cross-clamp", 48, 76, 1, "min"),
        ("lowest_temperature", "Lowest temp", 30, 34, 1, "C")),
    ),
    Operation(
        names=("Cesarean section, low transverse", "Primary LTCS", "Repeat LTCS", "C-section"), specialty="Obstetrics",
        diagnoses=("Arrest of descent at 40 wks", "Prior cesarean, 39 wks", "Breech at 39 wks",
        "Nonreassuring fetal heart tracing, 38 wks"),
        findings=("Normal uterus, tubes and ovaries", "Clear amniotic fluid", "Nuchal cord x1", "Thin lower segment"),
        minutes=(34, 78), ebl_ml=(450, 1000), specimen=("Placenta", "Cord blood"), sex="F", ages=(18, 45),
        measures=(("newborn.weight", "Infant weight", 2640, 4250, 10, "g"), ("newborn.apgar_1", "Apgar 1 min", 7, 8,
        1, ""),
        ("newborn.apgar_5", "Apgar 5 min", 8, 9, 1, "")), anesthesia=("Spinal", "Epidural", "Combined spinal-epidural"),
    ),
    Operation(
        names=("Total laparoscopic hysterectomy with BSO", "TAH/BSO", "Robotic hysterectomy, bilateral salpingectomy"),
        specialty="Gynecology", sex="F", ages=(38, 78),
        diagnoses=("Symptomatic fibroids", "Abnormal uterine bleeding", "Endometrial hyperplasia with atypia"),
        findings=("Uterus enlarged, {9-17 cm}", "Anterior fibroid {3-8 cm}", "Ovaries normal",
        "Ureters seen peristalsing"),
        minutes=(88, 205), ebl_ml=(50, 400), specimen=("Uterus, cervix, tubes",),
        measures=(("uterine_weight", "Uterine weight", 110, 640, 5, "g"),),
    ),
    Operation(
        names=("TURP", "Transurethral resection of prostate", "Bipolar TURP"), specialty="Urology", sex="M",
        ages=(52, 90),
        diagnoses=("BPH with retention", "BPH with LUTS", "BPH, recurrent hematuria"),
        findings=("Trilobar hypertrophy", "Trabeculated bladder", "Ureteral orifices intact",
        "Bladder neck open at end"),
        minutes=(42, 98), ebl_ml=(50, 300), specimen=("Prostate chips",), drains=("22 Fr 3-way Foley, CBI",
        "24 Fr 3-way Foley, CBI"), measures=(("resected_weight", "Resected weight", 12, 58, 1, "g"),),
        anesthesia=("Spinal", "General (LMA)"),
    ),
    Operation(
        names=("Ureteroscopy with laser lithotripsy and stent", "URS, laser lithotripsy"), specialty="Urology",
        diagnoses=("Obstructing ureteral calculus", "Renal calculus"), sided=True,
        findings=("{5-13 mm} stone, fragmented", "No stricture", "Stent curled in kidney and bladder"),
        minutes=(34, 92), ebl_ml=(5, 10), specimen=("Stone fragments",),
        implants=(("Double-J stent", "6 Fr x 24 cm|6 Fr x 26 cm|7 Fr x 26 cm"),), anesthesia=("General (LMA)",
        "General"),
    ),
    Operation(
        names=("L4-L5 microdiscectomy", "Lumbar microdiscectomy L5-S1"), specialty="Neurosurgery",
        diagnoses=("Lumbar disc herniation with radiculopathy", "Lumbar radiculopathy, failed conservative care"),
        findings=("Extruded fragment {8-16 mm}", "Nerve root decompressed, mobile", "No CSF leak"),
        minutes=(52, 115), ebl_ml=(10, 75), specimen=("Disc material",), sided=True, ages=(22, 76),
    ),
    Operation(
        names=("Carotid endarterectomy", "CEA with patch angioplasty"), specialty="Vascular Surgery",
        diagnoses=("Symptomatic carotid stenosis", "High-grade carotid stenosis"), sided=True, ages=(52, 88),
        findings=("Ulcerated plaque {18-34 mm} long", "Stump pressure {38-62 mmHg}", "Shunt not required"),
        minutes=(82, 160), ebl_ml=(50, 200), specimen=("Carotid plaque",), drains=("None", "10 Fr JP drain, neck"),
        implants=(("Bovine pericardial patch", "0.8 x 8 cm|1 x 6 cm"),),
        measures=(("clamp_time", "Clamp time", 22, 48, 1, "min"),),
    ),
    Operation(
        names=("Partial mastectomy with SLNB", "Lumpectomy, sentinel node biopsy"), specialty="Breast Surgery", sex="F",
        diagnoses=("Invasive ductal carcinoma", "DCIS, high grade", "Invasive lobular carcinoma"), ages=(32, 86),
        findings=("{11-28 mm} palpable mass", "Seed and clip in specimen on radiograph", "Cavity margins shaved"),
        minutes=(58, 125), ebl_ml=(10, 60), specimen=("Breast mass", "Sentinel nodes"), sided=True,
        measures=(("nodes", "Sentinel nodes removed", 1, 4, 1, ""),),
    ),
    Operation(
        names=("Exploratory laparotomy, small bowel resection", "Ex lap, small bowel resection"),
        specialty="General Surgery",
        diagnoses=("Small bowel obstruction", "Closed-loop bowel obstruction"), urgent=True,
        findings=("Single adhesive band in RLQ", "{12-45 cm} of ischemic ileum", "{200-900 mL} serous ascites"),
        minutes=(72, 210), ebl_ml=(50, 400), specimen=("Small bowel",), drains=("None", "NG tube to LIS"),
    ),
)  # fmt: skip

ANTIBIOTICS = (
    Order("Cefazolin", "2 g|2 g|1 g", "IV", "q8h x 24 h|q8h x 2 doses|once", "cephalosporin,penicillin", "antibiotic"),
    Order("Ceftriaxone", "1 g|2 g", "IV", "daily|q24h", "cephalosporin,penicillin", "antibiotic"),
    Order("Vancomycin", "1 g|1.25 g|1.5 g", "IV", "q12h x 2 doses|once", "glycopeptide", "antibiotic"),
    Order("Gentamicin", "240 mg|320 mg|400 mg", "IV", "once|x 1 dose", "", "antibiotic"),
)
AFTERCARE = (
    Order("Acetaminophen", "1 g|1,000 mg|650 mg", "PO|IV", "q6h|q8h"),
    Order("Ketorolac", "15 mg|30 mg", "IV", "q6h x 24 h|q6h PRN pain", "nsaid", "NSAID"),
    Order("Celecoxib", "200 mg|100 mg", "PO", "BID|q12h", "nsaid,sulfa", "NSAID"),
    Order("Oxycodone", "5 mg|5-10 mg|10 mg", "PO", "q4h PRN pain|q6h PRN pain", "opioid", "oral opioid"),
    Order("Tramadol", "50 mg|100 mg", "PO", "q6h PRN pain", "opioid", "oral opioid"),
    Order("Hydromorphone", "0.2 mg|0.4 mg|0.5 mg", "IV", "q3h PRN severe pain|q4h PRN pain", "opioid", "IV opioid"),
    Order("Morphine", "2 mg|4 mg|2-4 mg", "IV", "q3h PRN pain|q4h PRN pain", "opioid", "IV opioid"),
    Order("Gabapentin", "100 mg|300 mg", "PO", "TID|qHS"),
    Order("Ondansetron", "4 mg|8 mg", "IV|PO", "q6h PRN nausea|q8h PRN N/V"),
    Order("Docusate", "100 mg", "PO", "BID"),
    Order("Senna", "8.6 mg|17.2 mg", "PO", "qHS|BID"),
    Order("Famotidine", "20 mg", "IV|PO", "BID|q12h"),
    Order("Enoxaparin", "40 mg|30 mg", "SC|SQ", "daily|q24h, start POD 1", "heparin", "clots"),
    Order("Heparin", "5,000 units", "SC|SQ", "q8h|q12h", "heparin", "clots"),
    Order("Fondaparinux", "2.5 mg", "SC", "daily", "", "clots"),
)
