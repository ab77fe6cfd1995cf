"""What a DICOM says that its image shows, and whether that is a frontal chest X-ray, processed to be looked at.

The networks know nothing else: on a lateral view, a knee or a slice of a CT they find something, too. Header elements
are typed by people and chosen by vendors, so that only what is said decides. A missing element, or a text that is none
of the known ones, excludes nothing.
"""

import re
from typing import NamedTuple

from pydicom.dataset import Dataset

from pneumo.dicom import view_codes
from pneumo.dicom.values import tags, text

KEYWORDS = (
    *("ImageType", "SOPClassUID", "Modality", "PresentationIntentType"),
    *("BodyPartExamined", "ViewPosition", "PatientOrientation", view_codes.SEQUENCE),
)
ELEMENTS = tags(KEYWORDS)
"""The elements that are read."""

RADIOGRAPHY = frozenset({"CR", "DX", "RG", "DR", "XR", "OT", "SC", "HC"})
"""Modalities of X-ray images, and those that do not tell. DR and XR are in use but not in the standard; exports of
exports are often OT, SC or HC."""
_OTHER_MODALITIES = """
ANN AR ASMT AU BDUS BI BMD CFM CT CTPROTOCOL DMS DG DOC ECG EEG EMG EOG EPS ES FID GM HD IO IOL IVOCT IVUS KER KO LEN LS
M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS PA PLAN POS PR PT PX REG RESP RF RTDOSE RTIMAGE RTINTENT RTPLAN
RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF
"""
MODALITIES = RADIOGRAPHY.union(_OTHER_MODALITIES.split())
"""Defined terms of Modality, PS3.3 C.7.3.1.1.1, the retired ones too."""
INTENTS = frozenset({"FOR PRESENTATION", "FOR PROCESSING"})
"""Enumerated values of Presentation Intent Type, PS3.3 C.8.11.1."""
VIEWS = frozenset({"AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO"})
"""Defined terms of View Position, PS3.3 C.8.1.1 and C.8.11.5."""
FRONTAL_VIEWS = frozenset({"AP", "PA", "FRONTAL"})
IMAGE_TYPES = frozenset({"LOCALIZER", "AXIAL", "REFORMATTED", "MPR", "MIP"})
"""Values of Image Type, behind its first two, of what is no X-ray image, in files whose modality does not tell: the
overview, slices and views of a CT, PS3.3 C.8.2.1.1.1 and C.8.16.1.3. The first two decide nothing: archives and
anonymization make DERIVED SECONDARY of any image."""
CHEST = "CHEST"

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MODALITY_OF_CLASS = {
    "1.2": "MG",
    "1.3": "IO",
    "2": "CT",
    "3": "US",
    "4": "MR",
    "6": "US",
    "12.1": "XA",
    "12.2": "RF",
    "13.1": "XA",
    "20": "NM",
    "77.1": "XC",
    "128": "PT",
    "130": "PT",
    "481.1": "RTIMAGE",
}
"""Modality by the SOP class, without ``_STORAGE``, and the classes below it, for files without one."""
_FOR_PROCESSING = frozenset({"1.1.1", "1.2.1", "1.3.1"})
"""SOP classes of images FOR PROCESSING: DX, mammography, intra-oral."""

_CHEST = re.compile(
    r"CHEST|THORAX|THORAC|T(?:O|[^A-Z]{1,2})RA[XC]|LUNG|PULM|POLM|POUM|CXR|HEART|MEDIASTIN|BRUSTKORB|PECHO"
)
"""In Body Part Examined. Two characters that are no letters: what is left of an accent in another character set."""
_SPINE = re.compile(r"SPINE|COLUMN|WIRBEL")
_NOT_SPINE = re.compile(r"CHEST|THORAX|TORAX|LUNG")
_PART_WORDS = """
ABDOMEN ABDOMINAL ABD KUB PELVIS PELVIC HIP HIPS FEMUR THIGH KNEE KNEES PATELLA LEG LEGS TIBIA FIBULA ANKLE ANKLES FOOT
FEET TOE TOES CALCANEUS HEEL HAND HANDS FINGER FINGERS THUMB WRIST WRISTS FOREARM RADIUS ULNA ELBOW ELBOWS HUMERUS ARM
ARMS SHOULDER SHOULDERS SCAPULA CLAVICLE STERNUM RIB RIBS SKULL HEAD FACE FACIAL JAW MANDIBLE MAXILLA NOSE NASAL ORBIT
ORBITS SINUS SINUSES ZYGOMA TMJ TEETH TOOTH DENTAL NECK CERVICAL LUMBAR SACRUM COCCYX SIJOINT ACJOINT SCJOINT BREAST
EXTREMITY LOWEREXTREMITY UPPEREXTREMITY BRAIN EYE EAR LIVER KIDNEY BLADDER UTERUS PROSTATE
"""
_OTHER_PARTS = frozenset(_PART_WORDS.split())
"""Words that name a body part other than the chest: the defined terms of PS3.16 annex L that X-ray rooms use."""
_LATERAL = frozenset({"LAT", "LATERAL", "LL", "RL", "LLAT", "RLAT", "PROFIL", "PROFILE"})
_PA = frozenset({"PA", "POSTEROANTERIOR"})
_AP = frozenset({"AP", "ANTEROPOSTERIOR"})


class Projection(NamedTuple):
    """What the header says; each is a known term, or empty when it is missing or not known."""

    modality: str
    """Modality, or that of the SOP class."""
    body_part: str
    """``CHEST``, or a word that names another body part."""
    view: str
    """View Position: one of ``VIEWS``, or ``FRONTAL``, ``LATERAL``, ``OBLIQUE``, ``DECUBITUS`` without a side."""
    presentation_intent: str
    """``FOR PRESENTATION`` or ``FOR PROCESSING``."""
    image_type: str = ""
    """One of ``IMAGE_TYPES``."""


def read(dataset: Dataset) -> Projection:
    """Read what an image shows, of a dataset whose elements are not converted yet; never raises."""
    modality, intent = (text(dataset, name).strip().upper() for name in ("Modality", "PresentationIntentType"))
    sop_class = _standard_class(text(dataset, "SOPClassUID"))
    if sop_class in _FOR_PROCESSING:
        intent = "FOR PROCESSING"
    position, orientation = text(dataset, "ViewPosition").upper(), text(dataset, "PatientOrientation")
    return Projection(
        modality=modality if modality in MODALITIES else _modality_of(sop_class),
        body_part=_body_part(text(dataset, "BodyPartExamined").upper()),
        view=_view(position) or view_codes.read(dataset) or _view_by_orientation(orientation),
        presentation_intent=intent if intent in INTENTS else "",
        image_type=_image_type(text(dataset, "ImageType").upper()),
    )


def find_exclusion(projection: Projection) -> str:
    """Return why an image is not a frontal chest X-ray to be looked at; empty when nothing says so."""
    if projection.modality and projection.modality not in RADIOGRAPHY:
        return f"modality {projection.modality}"
    if projection.image_type:
        return f"image type {projection.image_type}"
    if projection.body_part not in ("", CHEST):
        return f"body part {projection.body_part}"
    if projection.view and projection.view not in FRONTAL_VIEWS:
        return f"view {projection.view}"
    # The detector's values before the processing that makes an image of them: dark, flat, and often inverted.
    return projection.presentation_intent if projection.presentation_intent == "FOR PROCESSING" else ""


def _standard_class(uid: str) -> str:
    """Return a SOP class without ``_STORAGE``; empty for a private one, or one that anonymization replaced."""
    return uid.removeprefix(_STORAGE) if uid.startswith(_STORAGE) else ""


def _modality_of(sop_class: str) -> str:
    names = (name for prefix, name in _MODALITY_OF_CLASS.items() if f"{sop_class}.".startswith(f"{prefix}."))
    return next(names, "")


def _image_type(values: str) -> str:
    return next((value for value in map(str.strip, values.split("\\")[2:]) if value in IMAGE_TYPES), "")


def _body_part(name: str) -> str:
    words = re.findall("[A-Z]+", name)
    if _SPINE.search(name) and not _NOT_SPINE.search(name):
        return "SPINE"
    if _CHEST.search(name):
        return CHEST
    return next((word for word in ("".join(words), *words) if word in _OTHER_PARTS), "")


def _view(name: str) -> str:
    words = re.findall("[A-Z]+", name)
    joined = "".join(words)
    if joined in VIEWS:
        return joined
    for beginning, view in (("DECUB", "DECUBITUS"), ("OBL", "OBLIQUE")):
        if any(word.startswith(beginning) for word in words):
            return view
    said = {*words, joined}
    lateral = not _LATERAL.isdisjoint(said)
    frontal = "PA" if said & _PA else "AP" if said & _AP else "FRONTAL" if "FRONTAL" in said else ""
    # Of an examination with both views each file may have both names.
    return "LATERAL" if lateral and not frontal else "" if lateral else frontal


def _view_by_orientation(orientation: str) -> str:
    """Return ``LATERAL`` when the rows of pixels run between front and back, PS3.3 C.7.6.1.1.1."""
    return "LATERAL" if orientation.strip().upper().startswith(("A", "P")) else ""
