"""Thousands of mutated files: each gives the right image or a rejection.

PNEUMO_FUZZ_MUTATIONS=20000 runs more than the 2,000 of CI, PNEUMO_FUZZ_SEED=7 runs others. Mutation N of a seed is
always the same file, for the same corpus; real files are in it when PNEUMO_SIIM_DIR is set. Files that fail are kept;
``fuzz_oracle.py`` explains what to do with them.

Asserted for every file, in processes with limits on time and memory:

- ``scan`` and ``read`` return a result or raise ``FileRejectedError``; no other exception, no crash, no hang.
- Both return the same image id, the one that pydicom finds in these bytes.
- If nothing that the image depends on was changed, by pydicom's reading, the image is that of the original file, byte
  for byte, or the file is rejected.
- Otherwise the image equals pydicom's image of the mutated bytes, rendered by code that shares nothing with ours. An
  unusable window or padding value that the reader ignored and noted is removed first. If pydicom cannot decode the
  pixels, the file is rejected. Elements have the VR of the data dictionary.

Not asserted, since it cannot be known: that the image is the intended one. Other values in uncompressed pixels, in a
window or in the tables of a JPEG give another valid file. A flipped bit in entropy-coded data that decodes to the right
number of blocks with codes of its tables is valid for every decoder; that is so for four in five single flips in a
baseline JPEG, two in five swapped kilobytes, and hardly any truncation. JPEG Lossless and JPEG-LS have one decoder
here, so that its image is compared with itself. Lossy JPEG of 12 bits is compared with that of dcmtk, if installed.
"""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fuzz_mutations
import fuzz_processes
import numpy as np
import reference_encodings as encodings
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGExtended12Bit

MUTATIONS = int(os.environ.get("PNEUMO_FUZZ_MUTATIONS", "2000"))
SEED = int(os.environ.get("PNEUMO_FUZZ_SEED", "0"))
REAL_FILES = 3
PEAK = 1 << 30
"""Most bytes of memory that a process may take: the files have at most a megapixel, mutated headers declare 2^26."""

X_RAY = (np.add.outer(np.arange(40) ** 2, np.arange(67) * 9) % 2048 + 1000).astype(np.uint16)
BYTES = (X_RAY >> 4).astype(np.uint8)


def write_corpus(directory: Path) -> dict[str, bytes]:
    """Write one small file of each kind."""
    window = {"WindowCenter": "1800", "WindowWidth": "2200"}
    curve = reference.lut_item(0, 12, [round(4095 * (index / 4095) ** 0.5) for index in range(4096)])
    rescaled = {"RescaleSlope": "-1.5", "RescaleIntercept": "300", "PixelPaddingValue": 1000}
    datasets = {
        "jpeg": reference.build_jpeg(BYTES, PixelSpacing=[0.143, 0.143]),
        "jpeg with a window": reference.build_jpeg(BYTES, PhotometricInterpretation="MONOCHROME1", **window),
        "explicit": reference.build(X_RAY, 12, **window),
        "implicit": reference.build(X_RAY.astype(np.int16), 13, "implicit", **rescaled),
        "big endian": reference.build(X_RAY, 12, "big_endian", "MONOCHROME1"),
        "deflated": reference.build(X_RAY, 12, "deflated", VOILUTSequence=Sequence([curve])),
        "signed": reference.build((X_RAY - 2000).astype(np.int16), 12, VOILUTFunction="SIGMOID", **window),
        "frames": reference.build(np.stack([X_RAY, X_RAY // 2]), 12, "rle"),
        "rgb": reference.build(np.dstack([BYTES, BYTES[::-1], BYTES // 2]), photometric="RGB"),
        "htj2k": encodings.htj2k("u2", 12)[0],
    }
    datasets |= lookup_tables() | functional_groups(window)
    corpus = {}
    for name, dataset in datasets.items():
        corpus[name] = reference.save(dataset, directory / "x.dcm").read_bytes()
    for name in ("RLE", "JPEG 2000", "JPEG Lossless SV1", "JPEG-LS"):
        corpus[name] = encodings.save(reference.build(X_RAY, 12), name, directory / "x.dcm").read_bytes()
    frame = reference.encode_jpeg(BYTES)
    stray = reference.build_jpeg(BYTES, frame + bytes(len(frame) % 2) + b"\x12\x34")
    corpus["stray bytes"] = reference.save(stray, directory / "x.dcm").read_bytes()
    if shutil.which("dcmdjpeg"):
        for syntax in (JPEGExtended12Bit, encodings.PROGRESSIVE):
            dataset = encodings.jpeg_of_12_bits(syntax)
            path = encodings.save_jpeg_of_12_bits(dataset, directory / "x.dcm")
            corpus[f"jpeg of 12 bits, {syntax}"] = path.read_bytes()
    if "PNEUMO_SIIM_DIR" in os.environ:
        paths = sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))
        corpus |= {f"real {number}": path.read_bytes() for number, path in enumerate(paths[:REAL_FILES])}
    return corpus


def lookup_tables() -> dict[str, Dataset]:
    """Return images with tables of 8 and 16 bits, unsigned and signed, in bytes and in words of both orders."""
    ramp, root = np.arange(256), np.rint(255 * (np.arange(256) / 255) ** 0.5).astype(np.uint8)
    signed = (BYTES.astype(np.int16) - 128).astype(np.int8)
    colors = {"photometric": "PALETTE COLOR"}
    segments = np.array([0, 2, 0, 257, 1, 126, 127 * 257, 2, 2, 0, 0], "<u2").tobytes()
    return {
        "modality LUT": reference.build(BYTES, ModalityLUTSequence=Sequence([table(0, 16, ramp * 257, "US")])),
        "modality LUT, signed": reference.build(signed, ModalityLUTSequence=Sequence([table(-128, 8, root, "OW")])),
        "VOI LUT in bytes": reference.build(BYTES, VOILUTSequence=Sequence([table(0, 8, root, "OB")])),
        "VOI LUT in VR SS": reference.build(
            BYTES,
            syntax="implicit",
            VOILUTSequence=Sequence([table(-100, 16, ramp[::-1] * 257, "SS")]),
            RescaleSlope="1",
            RescaleIntercept="-100",
        ),
        "VOI LUT, big endian": reference.build(
            BYTES, syntax="big_endian", VOILUTSequence=Sequence([table(0, 16, ramp * 257, "US")])
        ),
        "palette": reference.build(BYTES, **colors, **palette((ramp * 257).astype("<u2").tobytes(), 16)),
        "palette, big endian": reference.build(
            BYTES, syntax="big_endian", **colors, **palette((ramp * 257).astype(">u2").tobytes(), 16)
        ),
        "palette in bytes": reference.build(BYTES, **colors, **palette(root.tobytes(), 8)),
        "palette in segments": reference.build(BYTES, **colors, **palette(segments, 16, "Segmented")),
    }


def table(first: int, bits: int, entries: np.ndarray, vr: str) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    if vr in ("OB", "OW"):
        item.add_new("LUTData", vr, entries.tobytes())
    else:
        item.add_new("LUTData", vr, entries.astype(np.int16 if vr == "SS" else np.uint16).tolist())
    return item


def palette(data: bytes, bits: int, kind: str = "") -> dict[str, Any]:
    elements: dict[str, Any] = {}
    for color in ("Red", "Green", "Blue"):
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{kind}{color}PaletteColorLookupTableData"] = data
    return elements


def functional_groups(window: dict[str, str]) -> dict[str, Dataset]:
    """Return an image whose window and rescale are in functional groups."""
    shared, frame, rescale, voi = (Dataset() for _ in range(4))
    rescale.RescaleSlope, rescale.RescaleIntercept = "0.5", "600"
    shared.PixelValueTransformationSequence = Sequence([rescale])
    voi.WindowCenter, voi.WindowWidth = window["WindowCenter"], window["WindowWidth"]
    frame.FrameVOILUTSequence = Sequence([voi])
    groups = {"SharedFunctionalGroupsSequence": shared, "PerFrameFunctionalGroupsSequence": frame}
    return {
        "functional groups": reference.build(X_RAY, 12, **{name: Sequence([item]) for name, item in groups.items()})
    }


def test_mutated_files_give_the_right_image_or_a_rejection(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    outcomes = fuzz_processes.run(corpus, SEED, list(range(MUTATIONS)), tmp_path)
    assert sorted(outcome.number for outcome in outcomes) == list(range(MUTATIONS))
    failures = [outcome for outcome in outcomes if outcome.failed]
    report = []
    for outcome in failures:
        name, how, data = fuzz_mutations.mutate(SEED, outcome.number, corpus)
        path = tmp_path / f"mutation-{SEED}-{outcome.number}.dcm"
        path.write_bytes(data)
        report.append(f"{path}: {name} after {how}\n{outcome.what}")
    counts = Counter(outcome.what for outcome in outcomes if not outcome.failed)
    sys.stdout.write(f"PNEUMO_FUZZ_SEED={SEED}: {dict(counts)}, {len(failures)} failed\n")
    assert not failures, f"PNEUMO_FUZZ_SEED={SEED}\n" + "\n".join(report)
    assert max(outcome.peak for outcome in outcomes) < PEAK
    # Each outcome has to occur often enough to be tested.
    assert min(counts[what] for what in ("rejected", "untouched", "compared")) > MUTATIONS / 20
