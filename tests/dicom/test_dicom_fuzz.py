"""Thousands of spoiled files: each is a right picture or a rejection, and none is anything else.

PNEUMO_FUZZ_MUTATIONS=20000 asks for more than CI's 2,000, PNEUMO_FUZZ_SEED=7 for others. Mutation N of a seed is always
the same file (as long as the corpus is: real files take part when PNEUMO_SIIM_DIR is set); those that fail are kept.

Asserted of every file, each read in a process of its own kind with a limit on time and memory:

- ``scan`` and ``read`` end with a result or with ``Rejected``, never with another exception, a crash or a hang.
- Both name the same image, the one that pydicom finds in these bytes.
- Where nothing was touched that a picture depends on, by pydicom's reading, the member is that of the whole file, byte
  for byte, or the file is rejected.
- Else the picture is, level by level, pydicom's own of the spoiled bytes, shown by arithmetic that shares nothing with
  ours; where the reader has noted that it left out a window or a padding value that makes no sense, without that. Where
  pydicom cannot make a picture, there is none. Elements are read as the VR of the data dictionary says.

Not asserted, since nobody can tell: that a picture is the one that was meant. Other values in uncompressed pixels, in
a window or in a JPEG's tables make another whole file. A flipped bit in entropy-coded data that decodes to the right
number of blocks without a code that is not in its tables (four in five of single flips in a baseline JPEG, two in
five of swapped kilobytes, hardly any cut) is the same to every decoder. JPEG Lossless and JPEG-LS have one decoder
here, so that its picture is held against itself.
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
"""Bytes that no process may come to need: the files have at most a megapixel, and spoiled headers claim 2^26."""

X_RAY = (np.add.outer(np.arange(40) ** 2, np.arange(67) * 9) % 2048 + 1000).astype(np.uint16)
BYTES = (X_RAY >> 4).astype(np.uint8)


def write_corpus(folder: Path) -> dict[str, bytes]:
    """Write one small file of each kind."""
    window = {"WindowCenter": "1800", "WindowWidth": "2200"}
    curve = reference.lut_item(0, 12, [round(4095 * (place / 4095) ** 0.5) for place in range(4096)])
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
        corpus[name] = reference.save(dataset, folder / "x.dcm").read_bytes()
    for name in ("RLE", "JPEG 2000", "JPEG Lossless SV1", "JPEG-LS"):
        corpus[name] = encodings.save(reference.build(X_RAY, 12), name, folder / "x.dcm").read_bytes()
    if "PNEUMO_SIIM_DIR" in os.environ:
        paths = sorted(Path(os.environ["PNEUMO_SIIM_DIR"]).rglob("*.dcm"))
        corpus |= {f"real {number}": path.read_bytes() for number, path in enumerate(paths[:REAL_FILES])}
    return corpus


def test_spoiled_files_are_right_pictures_or_rejections(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    outcomes = fuzz_processes.run(corpus, SEED, list(range(MUTATIONS)), tmp_path)
    assert sorted(outcome.number for outcome in outcomes) == list(range(MUTATIONS))
    troubles = [outcome for outcome in outcomes if outcome.trouble]
    report = []
    for outcome in troubles:
        name, how, data = fuzz_mutations.mutate(SEED, outcome.number, corpus)
        path = tmp_path / f"mutation-{SEED}-{outcome.number}.dcm"
        path.write_bytes(data)
        report.append(f"{path}: {name} after {how}\n{outcome.what}")
    counts = Counter(outcome.what for outcome in outcomes if not outcome.trouble)
    sys.stdout.write(f"PNEUMO_FUZZ_SEED={SEED}: {dict(counts)}, {len(troubles)} in trouble\n")
    assert not troubles, f"PNEUMO_FUZZ_SEED={SEED}\n" + "\n".join(report)
    assert max(outcome.peak for outcome in outcomes) < PEAK
    # What is never taken, or never refused, says nothing.
    assert min(counts[what] for what in ("rejected", "untouched", "compared")) > MUTATIONS / 20
