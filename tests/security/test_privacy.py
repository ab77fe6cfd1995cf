"""No patient data gets out: secrets planted all over the input are searched for in every byte of the output."""

import base64
import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path

import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import DATE, DIGITS, PATH, TIME, WORD, Output
from security_chain import JOB, ROOT, Chain

from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import PRIVACY_NOTE
from pneumo.dataset.table import SampleTable
from pneumo.dicom.attributes import Attributes
from pneumo.masks import annotations
from pneumo.runtime.errors import UserError

SECRETS = [WORD, DIGITS, DATE, TIME]
LISTS = {paths.QUARANTINE, paths.UNMATCHED, "summary.html"}
"""What names files, so that the user can find them; not meant to be handed on."""


def test_the_secrets_are_in_the_input(chain: Chain) -> None:
    assert chain.planted.elements > 3000
    files = sorted(chain.planted.train.rglob("*.dcm"))
    assert len(files) > 30
    for path in files:
        assert WORD.encode() in path.read_bytes() or DIGITS.encode() in path.read_bytes(), path
    everything = b"".join(path.read_bytes() for path in files)
    assert everything.count(WORD.encode()) > 10_000
    assert all(text.encode() in everything for text in SECRETS)
    assert WORD in chain.planted.patients.read_text()
    assert WORD in chain.planted.masks.read_text()


def test_every_kind_of_file_became_a_sample_and_others_were_refused(chain: Chain) -> None:
    table = SampleTable.read(chain.out / "dataset")
    assert set(table.image_format.tolist()) == {"jpg", "png"}
    assert {f"{planted.ROOT}.{n + 1}" for n in range(20)} <= set(table.image_id.tolist())
    assert (table.age_years[[i for i, name in enumerate(table.image_id) if name.endswith(".5")]] == 90).all()
    manifest = Manifest.read(chain.out / "dataset")
    assert manifest.quarantined >= 15
    assert manifest.found == (
        manifest.samples + manifest.quarantined + manifest.left_out + manifest.unlabeled + manifest.merged_duplicates
    )


@pytest.fixture(scope="module")
def output(chain: Chain) -> Output:
    return Output.read(chain.out)


def test_no_secret_is_in_any_output(chain: Chain, output: Output) -> None:
    written = {path.name for path in chain.out.rglob("*") if path.is_file()}
    assert {"samples.parquet", "dataset.json", "quarantine.csv", "unmatched.csv", "train-000000.tar"} <= written
    assert {"recipe.json", "metrics.json", "thresholds.json", "oof.parquet", "oof.csv", "overlay.png"} <= written
    assert {"explore.html", "report.html"} <= written
    assert {"submission.csv", "model.safetensors", "fold.json", "predictions.csv"} <= written
    assert {"model.json", "model_card.md", "fold-1.safetensors", "model.onnx"} <= written
    assert {"optimizer.pt", "ema.safetensors", "state.json", "manifest.json"} <= written
    assert any(name.startswith("events.out") for name in written)
    found = output.find(SECRETS)
    # The one kind of output that has the patient, as DICOM wants it; only positive images have one.
    assert [place for _, place in found if not place.startswith("predictions/segmentations/")] == []


def test_no_command_prints_a_secret(chain: Chain) -> None:
    assert chain.commands.output.keys() == {
        *("shard", "explore", "train", "ensemble", "predict", "export", "score", "stopped")
    }
    assert "quarantined" in chain.commands.output["shard"]
    for name, text in chain.commands.output.items():
        assert [secret for secret in SECRETS if secret in text] == [], name


def test_only_the_lists_for_the_user_name_files(chain: Chain, output: Output) -> None:
    places = [place for _, place in output.find([PATH])]
    named = {Path(place.partition(" (")[0]).name for place in places}
    # A log may name a file, too.
    assert {name for name in named if not name.endswith(".log")} == LISTS
    with (chain.out / "dataset" / paths.QUARANTINE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(PATH in row["file"] for row in rows)
    # The id of a picture is its name.
    ids = {row["image_id"] for row in rows if PATH in row["image_id"]}
    assert ids == {f"{PATH}-picture"}
    assert not any(PATH in row[name] for row in rows for name in ("split", "reason", "phase", "expected", "action"))


def test_patients_are_numbers_without_a_mapping(chain: Chain, output: Output) -> None:
    names = {line.split(",")[2] for line in chain.planted.patients.read_text().splitlines()[1:]}
    assert len(names) > 8
    digests = [hashlib.new(kind, name.encode()).hexdigest() for name in names for kind in ("md5", "sha1", "sha256")]
    assert not [part for _, part, data in output.parts for text in digests if text.encode() in data]
    table = SampleTable.read(chain.out / "dataset")
    order = list(dict.fromkeys(table.patient[table.select("train")].tolist()))
    assert order == sorted(order), "numbers follow the ids of images, which the table gives anyway"


def test_the_help_and_the_page_name_what_is_kept() -> None:
    """A new attribute must be named in both."""
    names = {
        "rows": "size", "columns": "size", "row_spacing_mm": "pixel spacing", "column_spacing_mm": "pixel spacing",
        "view": "view", "modality": "modality", "body_part": "body part", "presentation_intent": "presentation intent",
        "sex": "sex", "age_years": "age (90 for 90 and more)",
        "transfer_syntax": "transfer syntax", "photometric": "photometric interpretation", "bits_stored": "bits stored",
    }  # fmt: skip
    assert names.keys() == {field.name for field in fields(Attributes)}
    page = " ".join((ROOT / "SECURITY.md").read_text().partition("**What leaves a DICOM:**")[2].split())[:1000]
    for text in (*names.values(), "SOPInstanceUID"):
        assert text in PRIVACY_NOTE
        assert text in page
    ended = subprocess.run(
        [sys.executable, JOB / "shard.py", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = " ".join(re.sub(r"[^\x20-\x7e]", " ", ended.stdout).split())
    assert "What leaves a DICOM: its first frame's pixels" in words


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (annotations.read_patients, f"{WORD},1.2\n"),
        (annotations.read_patients, f"ImageId,{WORD}\n1.2,3\n"),
        (annotations.read_patients, f"ImageId,PatientId\n1.2,{WORD}1\n1.2,{WORD}2\n"),
        (annotations.read_patients, f"ImageId,PatientId\n1.2,{WORD},x\n"),
        (annotations.read_patients, f'ImageId,PatientId\n1.2,"{WORD}\n'),
        (annotations.read_masks, f"{WORD},1.2\n"),
        (annotations.read_masks, f"ImageId,EncodedPixels\n1.2,{WORD}\n"),
        (annotations.read_masks, f"ImageId,EncodedPixels\n1.2,1 2 {WORD}\n"),
        (annotations.read_masks, f"ImageId,EncodedPixels\n1.2,-1,{WORD}\n"),
        (annotations.read_ids, f"{WORD},{WORD},1\n"),
    ],
)
def test_messages_about_tables_do_not_quote_them(tmp_path: Path, read, content: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(UserError) as raised:
        read(path)
    assert WORD not in str(raised.value)


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    """The search itself: every wrapping that the outputs use, with a secret in it."""
    text = f"name {WORD} end"
    (tmp_path / "plain.csv").write_text(text)
    (tmp_path / "utf16").write_bytes(text.encode("utf-16"))
    (tmp_path / "hex").write_text(text.encode().hex())
    for shift in range(3):
        (tmp_path / f"base64-{shift}").write_bytes(base64.b64encode(b"x" * shift + text.encode()))
    (tmp_path / "deep.tar").write_bytes(_tar({"a.gz": zlib.compress(text.encode())}))
    (tmp_path / "picture.png").write_bytes(planted.png_with_secrets(planted.image(0)[0]))
    (tmp_path / "picture.jpg").write_bytes(planted.jpeg_with_secrets(planted.image(0)[0], exif=True))
    pq.write_table(pa.table({"column": [text]}), tmp_path / "table.parquet", compression="zstd", use_dictionary=False)
    with zipfile.ZipFile(tmp_path / "optimizer.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", text)
    (tmp_path / WORD).mkdir()
    places = [place for _, place in Output.read(tmp_path).find([WORD])]
    for path in tmp_path.iterdir():
        assert any(path.name in place for place in places), path.name


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
