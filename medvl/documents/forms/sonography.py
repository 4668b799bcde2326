"""More of what radiology knows: ultrasound, mammography and films of bones, in the terms of `imaging`."""

from __future__ import annotations

from medvl.documents.forms.imaging import ELLIPSOID, Exam, Lesion

_VEINS = "{side} common femoral vein|{side} popliteal vein|{side} femoral vein|{side} posterior tibial vein"
_CLOCK = "2 o'clock position|4 o'clock position|8 o'clock position|10 o'clock position|12 o'clock position"
_NODULE = "right upper pole|right mid gland|right lower pole|left upper pole|left mid gland|left lower pole|isthmus"


def _nodule(names: str, category: str, by_size: tuple[tuple[int, str], ...]) -> Lesion:
    return Lesion(names, _NODULE, (6, 38), 3, "nodules", volume=ELLIPSOID, category=f"TI-RADS:{category}",
                  by_size=by_size)  # fmt: skip


# ACR TI-RADS, Tessler et al., J Am Coll Radiol 2017;14:587. Its points: composition (mixed 1, solid 2), echogenicity
# (iso- or hyperechoic 1, hypoechoic 2, very hypoechoic 3), lobulated margin 2, macrocalcifications 1, punctate foci 3;
# a spongiform nodule has none. Categories by their sum: 0 TR1, 2 TR2, 3 TR3, 4 to 6 TR4, from 7 on TR5.
NODULES = (
    _nodule("spongiform nodule", "TR1", ((0, "No FNA indicated"),)),
    _nodule("mixed cystic-solid isoechoic nodule", "TR2", ((0, "No FNA indicated"),)),
    _nodule("solid isoechoic nodule|mixed cystic-solid hypoechoic nodule", "TR3",
            ((25, "FNA recommended"), (15, "Repeat US in 12 months"), (0, "No follow-up needed"))),
    _nodule("solid hypoechoic nodule|solid isoechoic nodule with macrocalcifications", "TR4",
            ((15, "FNA recommended"), (10, "Repeat US in {12|24} months"), (0, "No follow-up needed"))),
    _nodule("solid hypoechoic nodule with punctate echogenic foci|very hypoechoic solid nodule with lobulated margin",
            "TR5", ((10, "FNA recommended"), (5, "Repeat US in 12 months"))),
)  # fmt: skip

MORE_EXAMS = (
    Exam(
        names="US abdomen complete|Abdominal ultrasound|RUQ ultrasound",
        technique="Real-time grayscale and color Doppler|Curvilinear transducer, grayscale",
        indications="RUQ pain|Elevated LFTs|Abnormal liver enzymes|Hepatitis C, HCC screening|Jaundice",
        lesions=(
            Lesion("mobile gallstone|shadowing gallstone", "gallbladder neck|gallbladder fundus", (4, 24),
                   organ="gallbladder", advice="Surgical referral"),
            Lesion("polyp", "gallbladder", (3, 12), organ="gallbladder", advice="Repeat US in {6|12} months"),
            Lesion("echogenic lesion|hypoechoic lesion", "right hepatic lobe|left hepatic lobe", (9, 47), 2, "liver",
                   "Multiphase MRI recommended"),
            Lesion("simple cyst", "right kidney|left kidney", (11, 58), 2, "kidneys"),
            Lesion("nonobstructing calculus", "lower pole of right kidney|mid left kidney", (3, 11), organ="kidneys"),
        ),
        normal={"gallbladder": "No gallstones, sonographic Murphy sign negative",
        "liver": "Liver echotexture is normal",
                "kidneys": "No hydronephrosis", "pancreas": "Pancreas partly obscured by gas"},
        measures=(("measurements.bile_duct", "CBD", 2, 6), ("measurements.liver", "Liver span", 132, 158),
                  ("measurements.right_kidney", "Right kidney", 96, 121),
                  ("measurements.left_kidney", "Left kidney", 97, 123), ("measurements.spleen", "Spleen", 84, 118)),
        conclusion="Normal abdominal ultrasound",
    ),
    Exam(
        names="US thyroid|Thyroid ultrasound|US neck/thyroid",
        technique="High-frequency linear transducer|Grayscale and color Doppler, {12|15} MHz",
        indications="Palpable neck nodule|Follow-up nodule|Goiter|Abnormal TSH",
        lesions=NODULES,
        normal={"nodules": "No discrete nodule", "nodes": "No suspicious cervical nodes",
        "flow": "Vascularity is normal"},
        measures=(("measurements.right_lobe", "Right lobe length", 41, 58),
                  ("measurements.left_lobe", "Left lobe length", 39, 56), ("measurements.isthmus", "Isthmus AP", 2, 5)),
        conclusion="Unremarkable thyroid ultrasound",
    ),
    Exam(
        names="US venous duplex {side} lower extremity|LE venous Doppler, {side}|{side} leg venous duplex", sided=True,
        technique="Compression, color and spectral Doppler|Grayscale compression with augmentation",
        indications="Leg swelling|Calf pain|Rule out DVT|Post-op leg edema",
        lesions=(
            Lesion("noncompressible thrombus|occlusive thrombus|acute DVT", _VEINS, organ="veins", critical=True,
                   advice="Result called to ordering team"),
            Lesion("Baker cyst", "{side} popliteal fossa", (18, 62), 2, "fossa"),
        ),
        normal={"veins": "Common femoral through popliteal veins compress fully",
        "flow": "Phasic flow with augmentation",
                "fossa": "No popliteal cyst"},
        conclusion="No DVT",
    ),
    Exam(
        names="Diagnostic mammogram, {side}|Mammogram {side} with tomosynthesis", sex="F", youngest=30, sided=True,
        technique="CC and MLO views with tomosynthesis|Full-field digital, CC/MLO and spot views",
        indications="Palpable lump|Callback from screening|Breast pain|Follow-up asymmetry",
        lesions=(
            Lesion("irregular spiculated mass|irregular mass", _CLOCK, (7, 34), 2, "mass", "Biopsy recommended",
                   "at the", category="BI-RADS:4B|4C|5"),
            Lesion("oval circumscribed mass", _CLOCK, (6, 24), 2, "mass", "Follow-up in {6} months", "at the",
                   category="BI-RADS:3"),
            Lesion("fine pleomorphic calcifications", "upper outer quadrant|lower inner quadrant", (5, 28), 1,
                   "calcifications", "Stereotactic biopsy", category="BI-RADS:4B|4C"),
        ),
        normal={"mass": "No suspicious mass", "calcifications": "No suspicious calcifications",
                "density": "Heterogeneously dense tissue", "nodes": "No axillary adenopathy"},
        conclusion="Benign findings, BI-RADS 2",
    ),
    Exam(
        names="US pelvis, transvaginal|Pelvic ultrasound|US pelvis complete", sex="F",
        technique="Transabdominal and transvaginal imaging|Transvaginal probe",
        indications="Pelvic pain|Adnexal mass on exam|Fibroids",
        younger="Abnormal uterine bleeding", older="Postmenopausal bleeding",
        lesions=(
            Lesion("intramural fibroid|subserosal fibroid", "anterior uterine body|posterior uterine body|fundus",
                   (12, 74), 3, "uterus", "Gynecology follow-up", volume=ELLIPSOID),
            Lesion("simple cyst|hemorrhagic cyst|complex cyst", "right ovary|left ovary", (16, 71), 2, "ovaries",
                   "Repeat US in {6|8|12} weeks"),
        ),
        normal={"uterus": "Uterus is normal in size and echotexture", "ovaries": "Ovaries show normal flow",
                "fluid": "No free fluid"},
        measures=(("measurements.endometrium", "Endometrial stripe", 2, 9),
                  ("measurements.uterus", "Uterus length", 64, 92)),
        conclusion="Normal pelvic ultrasound",
    ),
    Exam(
        names="XR {side} wrist, 3 views|{side} wrist radiographs", technique="PA, oblique and lateral views",
        sided=True,
        indications="Fall on outstretched hand|Wrist pain after fall|Post-reduction",
        lesions=(
            Lesion("dorsally angulated fracture|comminuted fracture", "distal radius", (2, 9), organ="bones",
            where="of the",
                   advice="Orthopaedic follow-up in {5|7|10} days"),
            Lesion("avulsion fracture", "ulnar styloid|scaphoid waist", (1, 3), organ="bones",
                   where="of the"),
        ),
        normal={"bones": "No acute fracture", "joints": "Carpal alignment is maintained", "tissue": "Mild swelling"},
        conclusion="No acute fracture",
    ),
    Exam(
        names="XR {side} hip with pelvis|{side} hip, 2 views", technique="AP pelvis and lateral view", sided=True,
        indications="Fall, hip pain|Unable to bear weight|Groin pain",
        lesions=(
            Lesion("femoral neck fracture|intertrochanteric fracture", "{side} hip", (4, 22), organ="bones",
                   where="of the", critical=True, advice="Orthopaedic consultation"),
            Lesion("joint space narrowing to", "{side} superior hip joint", (1, 3), organ="joints"),
        ),
        normal={"bones": "No fracture or dislocation", "joints": "Hip joint spaces are preserved",
                "pelvis": "Pelvic ring is intact"},
        conclusion="No acute osseous injury",
    ),
)  # fmt: skip
