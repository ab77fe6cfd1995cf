"""DICOM files, CSVs and images with a secret in every place that can hold one, and the search for them."""

import base64
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from pneumo.dicom.reader import IMAGE_ELEMENTS
from pneumo.masks import rle

WORD = "QXZ7VJ"
"""In every secret text; upper case and digits, so that it fits every text VR."""
DIGITS = "739184620558"
"""In every secret number and UID."""
DATE = "19140728"
"""In every date and date-time."""
TIME = "134207.918273"
PATH = "FNQ5XW"
"""In every file and directory name, which the lists for the user may repeat and nothing else may."""
ROOT = "1.2.826.0.1.3680043.8.498.5"
SIZE = 64

_numbers = count()
_KEPT = IMAGE_ELEMENTS | {Tag("SpecificCharacterSet"), Tag("TransferSyntaxUID")}
_VALUES = {
    "DA": lambda n: DATE,
    "DT": lambda n: f"{DATE}134207.{n % 10**6:06d}",
    "TM": lambda n: TIME,
    "UI": lambda n: f"1.2.826.0.1.{DIGITS}.{n}",
    "IS": lambda n: DIGITS,
    "DS": lambda n: f"{DIGITS}.5",
    "PN": lambda n: f"{WORD}{n}^{WORD}^A",
    "UR": lambda n: f"https://{WORD}.example/{n}",
    **{vr: lambda n: f"{WORD}{n}" for vr in ("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UT")},
    **{vr: lambda n: f"{WORD}{n}".encode() + b" " * (len(f"{WORD}{n}") % 2) for vr in ("OB", "UN")},
}
"""A secret for each VR that can hold one."""


def secret() -> str:
    return f"{WORD}{next(_numbers)}"


def plant(dataset: Dataset) -> int:
    """Put a secret into every element of the dictionary that can hold one, and is not read for the picture."""
    planted = 0
    for number, (vr, *_) in DicomDictionary.items():
        tag = Tag(number)
        if tag in dataset or tag in _KEPT or tag.group in (0x0000, 0x0002, 0x7FE0, 0xFFFC, 0xFFFE) or tag.is_private:
            continue
        if vr == "SQ":
            item = Dataset()
            item.PatientName, item.TextValue, item.PatientBirthDate = f"{secret()}^A", secret(), DATE
            item.ContentSequence = [Dataset()]
            item.ContentSequence[0].PatientID = secret()
            dataset.add_new(tag, vr, [item])
        elif vr in _VALUES:
            dataset.add_new(tag, vr, _VALUES[vr](next(_numbers)))
        else:
            continue
        planted += 1
    for group in range(0x6000, 0x6020, 2):
        dataset.add_new((group, 0x0022), "LO", secret())
        dataset.add_new((group, 0x1500), "LO", secret())
        dataset.add_new((group, 0x4000), "LT", secret())
        dataset.add_new((group, 0x3000), "OB", secret().encode().ljust(64))
    block = dataset.private_block(0x0011, f"{WORD} MAKER", create=True)
    for offset, vr in enumerate(("LO", "UT", "PN", "OB", "UN", "DA", "UI")):
        block.add_new(offset, vr, _VALUES[vr](next(_numbers)))
    return planted


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def jpeg_with_secrets(pixels: np.ndarray, *, exif: bool) -> bytes:
    """Encode pixels and put a secret into a comment and every kind of application segment."""
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    bodies = [(0xFE, secret().encode()), *((0xE0 + n, b"XYZ\0" + secret().encode()) for n in range(16))]
    if exif:
        bodies.append((0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + secret().encode()))
    return data[:2] + b"".join(_segment(*body) for body in bodies) + data[2:]


def png_with_secrets(pixels: np.ndarray) -> bytes:
    """Encode pixels and put a secret into a text chunk and a compressed one."""
    data = cv2.imencode(".png", pixels)[1].tobytes()
    chunks = [(b"tEXt", b"Comment\0" + secret().encode()), (b"zTXt", b"Author\0\0" + zlib.compress(secret().encode()))]
    packed = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    return data[:33] + packed + data[33:]


def image(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    pixels = np.add.outer(np.linspace(0, 90, SIZE), np.linspace(0, 90, SIZE)) + rng.integers(0, 32, (SIZE, SIZE))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if number % 2 == 0:
        mask[20:40, 10 + number % 20 : 40] = 1
        pixels += 60 * mask
    return pixels.astype(np.uint8), mask


def dicom(number: int, kind: str) -> Dataset:
    """Return a dataset of one of the kinds that become samples, with its picture and nothing else."""
    pixels, _ = image(number)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{ROOT}.{number + 1}"
    dataset.file_meta.ImplementationVersionName = secret()[:16]
    dataset.file_meta.SourceApplicationEntityTitle = secret()[:16]
    dataset.file_meta.PrivateInformationCreatorUID = f"1.2.826.0.1.{DIGITS}"
    dataset.file_meta.PrivateInformation = secret().encode().ljust(16)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientSex, dataset.PatientAge, dataset.ViewPosition = "F", "097Y", "PA"
    for keyword in ("Modality", "BodyPartExamined", "PresentationIntentType", "PatientOrientation"):
        setattr(dataset, keyword, secret())
    dataset.PixelSpacing = [0.2, 0.2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if kind in ("jpeg", "exif"):
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([jpeg_with_secrets(pixels, exif=kind == "exif")])
    else:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if kind == "implicit" else ExplicitVRLittleEndian
        dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def save(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with config.disable_value_validation():
        dataset.save_as(path, enforce_file_format=True)


KINDS = ("jpeg", "exif", "explicit", "implicit")
WRONG = tuple(sorted(IMAGE_ELEMENTS - {Tag("PixelData"), Tag("SOPInstanceUID")}))
"""Elements of which a file gets a secret instead of a value."""


@dataclass(frozen=True)
class Planted:
    """An input full of secrets."""

    root: Path
    elements: int
    """Elements with a secret in each of the first files."""
    files: int
    """Files below the train directory."""

    @property
    def train(self) -> Path:
        return self.root / "train"

    @property
    def test(self) -> Path:
        return self.root / "test"

    @property
    def masks(self) -> Path:
        return self.root / "masks.csv"

    @property
    def patients(self) -> Path:
        return self.root / "patients.csv"


def write(root: Path) -> Planted:
    """Write train and test files, what will be rejected among them, and the CSVs."""
    masks, patients = ["ImageId,EncodedPixels,Comment"], ["Name,ImageId,PatientId"]
    elements = 0

    def add(number: int, dataset: Dataset, split: str) -> None:
        name = f"{PATH}-{number}"
        save(dataset, root / split / f"{PATH}_{number % 3}" / f"{name}.dcm")
        if split == "train":
            masks.append(f"{ROOT}.{number + 1},{rle.encode(image(number)[1])},{secret()}")
            patients.append(f"{secret()},{ROOT}.{number + 1},{WORD}-{number // 2}")

    for number in range(20):
        dataset = dicom(number, KINDS[number % len(KINDS)])
        # Every kind once with the whole dictionary, the others with what every file has.
        with config.disable_value_validation():
            if number < len(KINDS) or number >= 16:
                elements = plant(dataset)
            dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = secret(), f"{secret()}^A", DATE
        add(number, dataset, "train" if number < 16 else "test")
    for number, tag in enumerate(WRONG, start=100):
        dataset = dicom(number, KINDS[2 + number % 2])
        with config.disable_value_validation():
            if tag in dataset:
                del dataset[tag]
            dataset.add_new(tag, "LO", secret())
        add(number, dataset, "train" if number % 2 else "test")
    _write_damaged(root / "train" / PATH)
    (root / "masks.csv").write_text("\n".join([*masks, f"{ROOT}.999999,-1,{secret()}"]) + "\n")
    (root / "patients.csv").write_text("\n".join(patients) + "\n")
    return Planted(root, elements, sum(path.is_file() for path in (root / "train").rglob("*")))


def _write_damaged(directory: Path) -> None:
    """Write files that will be rejected."""
    directory.mkdir(parents=True)
    pixels, _ = image(0)
    whole = dicom(500, "explicit")
    with config.disable_value_validation():
        plant(whole)
    save(whole, directory / "whole")
    data = (directory / "whole").read_bytes()
    (directory / "whole").unlink()
    another = data.replace(f"{ROOT}.501".encode(), f"{ROOT}.502".encode())
    for name, content in {
        "notes.txt": secret().encode() * 50,
        "page.html": f"<html><title>{secret()}</title></html>".encode(),
        "picture.jpg": jpeg_with_secrets(pixels, exif=True),
        "picture.png": png_with_secrets(pixels),
        "cut-in-the-header.dcm": data[: len(data) // 2],
        "cut-in-the-meta.dcm": data[:400],
        "cut-in-the-pixels.dcm": another[:-1000],
        "no-prefix.dcm": data[132:600],
        "shouting.dcm": data[:132] + secret().encode() * 100,
    }.items():
        (directory / f"{PATH}-{name}").write_bytes(content)
    for number, (keyword, value) in enumerate(
        {
            "TransferSyntaxUID": f"1.2.840.10008.1.2.4.{DIGITS}",
            "SOPInstanceUID": f"{secret()}\\{secret()}",
            "SOPClassUID": f"1.2.840.10008.5.1.4.1.1.88.{secret()}",
        }.items()
    ):
        dataset = dicom(600 + number, "explicit")
        with config.disable_value_validation():
            setattr(dataset.file_meta if keyword == "TransferSyntaxUID" else dataset, keyword, value)
            save_as_written(dataset, directory / f"{PATH}-{number}.dcm")


def save_as_written(dataset: Dataset, path: Path) -> None:
    """Write a dataset whose meta header pydicom would not write: the value is put in behind it."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax == ExplicitVRLittleEndian:
        save(dataset, path)
        return
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    save(dataset, path)
    place = str(ExplicitVRLittleEndian).encode() + b"\0"
    data = path.read_bytes()
    assert data.count(place) == 1
    path.write_bytes(data.replace(place, syntax.encode()[: len(place)].ljust(len(place), b"\0")))


# -- the search --------------------------------------------------------------------------------------------------------


_DEFLATED = re.compile(rb"\x78[\x01\x9c\xda]|\x1f\x8b\x08")
"""How zlib's and gzip's streams begin."""


def forms(text: str) -> list[bytes]:
    """Return a string as a file may hold it: encodings, hexadecimal, base64 of each alignment, reversed, lower case."""
    raw = text.encode()
    found = [text.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")]
    found += [text.lower().encode(), raw[::-1], raw.hex().encode(), raw.hex().upper().encode()]
    for shift in range(3):
        # The first and the last characters depend on the bytes before and after.
        encoded = base64.b64encode(b"\0" * shift + raw)
        found.append(encoded[-(-8 * shift // 6) : len(encoded) // 4 * 4 - 4])
    return found


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file's bytes and all that can be unpacked from them, each with a name for messages."""
    yield from _unpacked(path.name, path.read_bytes())
    if path.suffix == ".parquet":
        table = pq.read_table(path, partitioning=None)
        yield f"{path.name} as columns", json.dumps(table.to_pylist(), default=str).encode()
        yield f"{path.name}'s schema", str(table.schema).encode() + repr(table.schema.metadata).encode()
        yield f"{path.name}'s statistics", str(pq.ParquetFile(path).metadata.to_dict()).encode()


def _unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, data
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                yield f"{name}: header of {member.name}", repr(member.get_info()).encode()
                yield from _unpacked(f"{name}: {member.name}", file.read())
    elif data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from ((f"{name}: {entry.filename}", archive.read(entry)) for entry in archive.infolist())
    elif not name.endswith(".safetensors"):  # which are not compressed, and long
        yield from _inflated(name, data)


def _inflated(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _DEFLATED.finditer(data):
        try:
            inflated = zlib.decompressobj(47).decompress(data[match.start() :])
        except zlib.error:
            continue
        if inflated:
            yield f"{name}: inflated at byte {match.start()}", inflated


@dataclass(frozen=True)
class Output:
    """A directory's files, unpacked once for any number of searches."""

    names: tuple[str, ...]
    """Paths of files and directories."""
    parts: tuple[tuple[str, str, bytes], ...]
    """(path of the file, name of the part, its bytes)."""

    @classmethod
    def read(cls, root: Path) -> "Output":
        paths = sorted(root.rglob("*"))
        files = [path for path in paths if path.is_file()]
        parts = [(str(path.relative_to(root)), *part) for path in files for part in contents(path)]
        return cls(tuple(str(path.relative_to(root)) for path in paths), tuple(parts))

    def find(self, texts: list[str]) -> list[tuple[str, str]]:
        """Return (text, place) wherever one of the strings is found in any form, in a name or in a file."""
        patterns = [(text, pattern) for text in texts for pattern in forms(text)]
        found = [(text, f"the name {name}") for text in texts for name in self.names if text in name]
        for path, part, data in self.parts:
            found += [(text, f"{path} ({part})") for text in sorted({t for t, pattern in patterns if pattern in data})]
        return found
