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
here, so that its image is compared with itself.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import fuzz_mutations
import fuzz_processes
import numpy as np
import reference_encodings as encodings
import reference_files as reference
from pydicom.sequence import Sequence

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
    ramp = (np.arange(256, dtype="<u2") * 257).tobytes()
    colors = ("Red", "Green", "Blue")
    palette = {f"{color}PaletteColorLookupTableDescriptor": [256, 0, 16] for color in colors}
    palette |= {f"{color}PaletteColorLookupTableData": ramp for color in colors}
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
        "palette": reference.build(BYTES, photometric="PALETTE COLOR", **palette),
        "rgb": reference.build(np.dstack([BYTES, BYTES[::-1], BYTES // 2]), photometric="RGB"),
        "htj2k": encodings.htj2k("u2", 12)[0],
    }
    corpus = {}
    for name, dataset in datasets.items():
        corpus[name] = reference.save(dataset, directory / "x.dcm").read_bytes()
    for name in ("RLE", "JPEG 2000", "JPEG Lossless SV1", "JPEG-LS"):
        corpus[name] = encodings.save(reference.build(X_RAY, 12), name, directory / "x.dcm").read_bytes()
    if "PNEUMO_SIIM_DIR" in os.environ:
        paths = sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))
        corpus |= {f"real {number}": path.read_bytes() for number, path in enumerate(paths[:REAL_FILES])}
    return corpus


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
