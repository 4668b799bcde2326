"""What radiology knows: examinations, what they may show, where and how large, and what stays normal beside it."""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lesion:
    """Something abnormal on an image."""

    names: str
    """Parted by bars, as the sites and the advice are."""
    sites: str
    size_mm: Range = (0, 0)
    """Largest diameter; (0, 0): it is not measured."""
    dimensions: int = 1
    organ: str = ""
    """Whose normal sentence falls away."""
    advice: str = ""
    where: str = "in the"
    critical: bool = False
    category: str = ""
    """Label and values of a reporting category, `BI-RADS:4A|4B|4C`."""
    volume: int = 0
    """Percent of the product of three diameters that a volume is computed as; 0: none is."""
    by_size: tuple[tuple[int, str], ...] = ()
    """Advice from a largest diameter in mm on, the greatest first; instead of `advice`, and always given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exam:
    """One kind of examination. Lists in strings are parted by bars."""

    names: str
    technique: str
    indications: str
    lesions: tuple[Lesion, ...]
    normal: dict[str, str]
    """Sentences by organ."""
    measures: tuple[tuple[str, str, int, int], ...] = ()
    """Normal sizes: path, label, low and high in mm."""
    conclusion: str
    """What the impression says when nothing is found."""
    contrast: bool = False
    sex: str = ""
    youngest: int = 18
    """Age from which it is done."""
    sided: bool = False
    younger: str = ""
    """Indications of patients below `MIDDLE_AGE` only."""
    older: str = ""
    """Indications from that age on only."""


MIDDLE_AGE = 55
ELLIPSOID, HEMATOMA = 52, 50
"""Percent of a x b x c: pi / 6 of an ellipsoid, and the half (ABC/2) that bleeding in the brain is measured by."""
_LOBES = "right upper lobe|right middle lobe|right lower lobe|left upper lobe|lingula|left lower lobe"
_FOLLOW = "Follow-up CT in {3|6|6-12} months|Recommend PET/CT|Tissue sampling advised"
_SEGMENTS = "segment II|segment IVa|segment V|segment VI|segment VII|segment VIII"
_QUADRANTS = "upper outer quadrant|upper inner quadrant|lower outer quadrant|lower inner quadrant|retroareolar region"
_LUMBAR = "L2-L3|L3-L4|L4-L5|L5-S1"

EXAMS = (
    Exam(
        names="Chest X-ray, PA and lateral|CXR 2 views|Portable chest radiograph|XR chest, 1 view",
        technique="Digital radiography|Upright, full inspiration|Digital acquisition, {1 exposure|2 exposures}",
        indications="Cough and fever|Shortness of breath|Chest pain|s/p line placement|Hypoxia|Pre-operative",
        lesions=(
            Lesion("airspace consolidation|patchy opacity", _LOBES, organ="lungs",
                   advice="Follow-up radiograph in {4|6|8} weeks"),
            Lesion("pneumothorax", "right apex|left apex", (8, 38), organ="pleura", where="at the", critical=True,
                   advice="Recommend repeat film in {4|6} hours"),
            Lesion("pleural effusion|layering effusion", "right hemithorax|left hemithorax", (12, 60), organ="pleura"),
            Lesion("nodule|nodular opacity", _LOBES, (8, 26), organ="lungs", advice="Recommend CT chest"),
            Lesion("acute fracture|oblique fracture", "right 6th rib|left 7th rib|right 8th rib|left 5th rib", (2, 6),
                   organ="bones", where="of the"),
        ),
        normal={"lungs": "Lungs are clear", "pleura": "No pleural effusion or pneumothorax",
                "heart": "Cardiomediastinal silhouette is normal", "bones": "No acute osseous abnormality"},
        measures=(("tube.carina_distance", "ETT tip above carina", 24, 62),),
        conclusion="No acute cardiopulmonary process",
    ),
    Exam(
        names="CT chest with contrast|CT thorax w/ IV contrast|CTA chest, PE protocol", contrast=True,
        technique="Axial {1|1.25|2|2.5} mm images|Helical acquisition, {1|2|3} mm reformats",
        indications="Lung nodule|Dyspnea, elevated D-dimer|Hemoptysis|Weight loss, smoker|Staging",
        lesions=(
            Lesion("solid nodule|spiculated nodule|part-solid nodule", _LOBES, (5, 29), 2, "lungs", _FOLLOW),
            Lesion("ground-glass nodule|ground-glass opacity", _LOBES, (6, 28), 1, "lungs",
                   "Follow-up CT in {6|12|6-12} months"),
            Lesion("filling defect|pulmonary embolus|acute embolus",
            "right main pulmonary artery|left lower lobe artery|"
                   "right lower lobe segmental artery|left main pulmonary artery", organ="vessels", critical=True,
                   advice="Critical result, anticoagulation per team"),
            Lesion("enlarged lymph node", "subcarinal station|right paratracheal station|left hilum|AP window",
                   (11, 29), organ="nodes"),
            Lesion("pleural effusion", "right pleural space|left pleural space", (10, 48), organ="pleura"),
            Lesion("fusiform aneurysm", "ascending aorta|descending thoracic aorta", (41, 56), organ="vessels",
                   where="of the", advice="Vascular referral|Repeat CT in {6|12} months"),
        ),
        normal={"lungs": "No focal consolidation or suspicious nodule", "pleura": "No effusion",
                "vessels": "No central pulmonary embolus", "nodes": "No pathologic adenopathy",
                "heart": "Heart size is normal, no pericardial effusion", "bones": "No aggressive osseous lesion"},
        measures=(("measurements.pulmonary_artery", "Main pulmonary artery", 22, 29),),
        conclusion="No acute intrathoracic abnormality",
    ),
    Exam(
        names="CT abdomen and pelvis with contrast|CT A/P w/ IV contrast|CT abdomen/pelvis", contrast=True,
        technique="Portal venous phase, {2.5|3|5} mm slices|Axial images with coronal reformats",
        indications="RLQ pain|LLQ pain and fever|Flank pain|Weight loss|Abdominal distension|Pulsatile mass",
        lesions=(
            Lesion("obstructing stone|calculus", "right UVJ|left UVJ|right proximal ureter|left distal ureter", (3, 12),
                   organ="kidneys", where="at the", advice="Urology consultation"),
            Lesion("hypodense lesion|hypervascular lesion|enhancing mass", _SEGMENTS, (8, 58), 2, "liver",
                   "MRI liver protocol recommended|Hepatology referral", "in hepatic"),
            Lesion("fusiform aneurysm", "infrarenal aorta", (31, 68), 2, "vessels", where="of the",
                   advice="Vascular surgery referral|Repeat imaging in {3|6|12} months"),
            Lesion("thick-walled appendix", "right lower quadrant", (9, 17), organ="bowel", critical=True,
                   advice="Surgical consultation"),
            Lesion("rim-enhancing abscess", "sigmoid mesentery|pelvis|right paracolic gutter", (22, 71), 2, "bowel",
                   "Consider percutaneous drainage", critical=True),
            Lesion("low-density nodule", "right adrenal gland|left adrenal gland", (10, 34), organ="adrenals",
                   advice="Adrenal protocol CT"),
            Lesion("simple cyst|exophytic cyst", "upper pole of right kidney|lower pole of left kidney", (11, 66), 1,
                   "kidneys"),
            Lesion("hypodense mass", "pancreatic head|pancreatic tail", (13, 42), 2, "pancreas", "EUS recommended"),
        ),
        normal={"liver": "Liver is normal in contour", "kidneys": "No hydronephrosis",
        "vessels": "Aorta is normal caliber",
                "bowel": "No bowel obstruction, appendix normal", "adrenals": "Adrenals are unremarkable",
                "pancreas": "Pancreas enhances normally", "spleen": "Spleen is normal"},
        measures=(("measurements.bile_duct", "CBD", 3, 6), ("measurements.spleen", "Spleen length", 82, 121)),
        conclusion="No acute abdominal or pelvic abnormality",
    ),
    Exam(
        names="CT head without contrast|Noncontrast head CT|CT brain w/o",
        technique="Axial {2.5|3|5} mm images without contrast|Noncontrast axial acquisition",
        indications="Fall on anticoagulation|Acute headache|Altered mental status|Left-sided weakness|Code stroke",
        lesions=(
            Lesion("acute intraparenchymal hemorrhage|hyperdense hematoma", "right basal ganglia|left thalamus|"
                   "left frontal lobe|right temporal lobe|pons|left cerebellum", (14, 52), 3, "blood",
                   "Neurosurgery consult", critical=True, volume=HEMATOMA),
            Lesion("subdural hematoma|acute subdural hematoma", "right cerebral convexity|left cerebral convexity",
                   (4, 18), organ="blood", where="along the", advice="Repeat CT in {4|6|12} hours", critical=True),
            Lesion("evolving infarct|hypodensity", "left MCA territory|right PCA territory|left PICA territory",
                   (16, 61), organ="gray", where="in the", advice="MRI brain recommended"),
            Lesion("calcified extra-axial mass", "left frontal convexity|falx|right sphenoid wing", (9, 38), 2, "gray",
                   "MRI with contrast", "along the"),
        ),
        normal={"blood": "No acute hemorrhage", "gray": "Gray-white differentiation is preserved",
                "ventricles": "Ventricles are normal for age", "bones": "No calvarial fracture",
                "sinuses": "Mastoids and sinuses are clear"},
        conclusion="No acute intracranial abnormality",
    ),
    Exam(
        names="MRI brain with and without contrast|MR brain w/wo gadolinium", contrast=True,
        technique="Multiplanar T1, T2, FLAIR, DWI and post-contrast|{1.5|3} T, T1, T2, FLAIR, DWI",
        indications="New seizure|Headache|Metastatic survey", younger="Hyperprolactinemia|Optic neuritis",
        lesions=(
            Lesion("homogeneously enhancing extra-axial mass", "right parietal convexity|left sphenoid wing|falx",
                   (9, 44), 3, "mass", "Neurosurgery referral", "along the"),
            Lesion("ring-enhancing lesion|enhancing lesion", "left frontal lobe|right cerebellum|right occipital lobe",
                   (7, 34), 2, "mass", "Oncology follow-up|Stereotactic biopsy to be considered"),
            Lesion("hypoenhancing nodule", "right side of the pituitary|left side of the pituitary", (3, 14), 1,
                   "pituitary", "Endocrine workup", "on the"),
            Lesion("focus of restricted diffusion", "left corona radiata|right pons|left insula|right thalamus",
                   (5, 29), 1, "diffusion", "Stroke workup", critical=True),
            Lesion("T2 FLAIR hyperintense lesion", "left periventricular white matter|corpus callosum", (4, 16), 1,
                   "white matter", "MS protocol follow-up in {6|12} months"),
        ),
        normal={"diffusion": "No restricted diffusion", "mass": "No mass or abnormal enhancement",
                "pituitary": "Sella is unremarkable", "white matter": "White matter signal is normal for age",
                "ventricles": "Ventricles are normal", "vessels": "Major flow voids are preserved"},
        conclusion="Normal MRI of the brain",
    ),
    Exam(
        names="MRI {side} knee without contrast|MR {side} knee", sided=True,
        technique="PD, T2 fat-sat in three planes|{1.5|3} T multiplanar, no contrast",
        indications="Twisting injury|Locking, joint line pain|Instability|Chronic knee pain",
        younger="Sports injury|Instability after sports injury",
        lesions=(
            Lesion("horizontal tear|radial tear|complex tear", "posterior horn of the medial meniscus|"
                   "body of the lateral meniscus", (4, 16), organ="menisci", advice="Orthopaedic referral"),
            Lesion("full-thickness tear|high-grade sprain", "anterior cruciate ligament", organ="ligaments",
            where="of the",
                   advice="Orthopaedic referral"),
            Lesion("cartilage defect|chondral fissuring", "medial femoral condyle|patellar apex|trochlea", (4, 19), 2,
                   "cartilage", where="of the"),
            Lesion("Baker cyst|popliteal cyst", "popliteal fossa", (17, 68), 3),
        ),
        normal={"menisci": "Menisci are intact", "ligaments": "ACL, PCL and collateral ligaments are intact",
                "cartilage": "Cartilage is preserved", "tendons": "Extensor mechanism is intact",
                "marrow": "No marrow edema or fracture"},
        conclusion="No internal derangement",
    ),
    Exam(
        names="MRI lumbar spine without contrast|MR L-spine w/o",
        technique="Sagittal T1, T2, STIR, axial T2|{1.5|3} T, sagittal and axial sequences",
        indications="Low back pain with radiculopathy|Neurogenic claudication|Left leg numbness|Foot drop",
        lesions=(
            Lesion("disc protrusion|left paracentral protrusion|right foraminal protrusion", _LUMBAR, (3, 8),
                   organ="discs", where="at", advice="Spine referral|Correlate with level of symptoms"),
            Lesion("disc extrusion", _LUMBAR, (7, 15), organ="discs", where="at", advice="Spine surgery referral"),
            Lesion("anterolisthesis", "L3-L4|L4-L5|L5-S1", (3, 9), organ="alignment", where="at"),
            Lesion("synovial cyst", "L4-L5|L3-L4", (5, 13), organ="facets", where="at"),
        ),
        normal={"discs": "Disc heights are maintained", "alignment": "Alignment is normal",
                "facets": "Mild facet arthropathy", "cord": "Conus ends at L1", "marrow": "Marrow signal is normal"},
        conclusion="No significant canal or foraminal stenosis",
    ),
)  # fmt: skip
