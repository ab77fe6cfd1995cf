"""What job/shard.py says of files in which nothing is wrong in form."""

from pathlib import Path

import cv2
import numpy as np
from shard_inputs import UIDS, call_shard, write_image, write_images

from pneumo.masks import rle


def test_odd_content_is_counted_at_the_end(tmp_path: Path) -> None:
    """Files in which nothing is wrong in form: black pictures, masks of another size and with absolute starts."""
    (tmp_path / "in").mkdir()
    y, x = np.mgrid[:200, :160]
    drawn = ((x - 80) ** 2 / 1600 + (y - 100) ** 2 / 2500 < 1).astype(np.uint8)
    texts = [
        rle.encode(drawn),
        rle.encode(np.ascontiguousarray(drawn.T)),  # row-major
        " ".join(f"{start} {length}" for start, length in rle.parse(rle.encode(drawn)).tolist()),
        rle.EMPTY,
        rle.EMPTY,
    ]
    lines = ["ImageId,EncodedPixels", *(f"{uid}9,{text}" for uid, text in zip([*UIDS, "1.2.7"], texts, strict=True))]
    (tmp_path / "masks.csv").write_text("\n".join(lines))
    for number, uid in enumerate([*UIDS, "1.2.7"]):
        picture = np.full((200, 160), 3, np.uint8) if number > 2 else (x + y).astype(np.uint8) % 250
        write_image(tmp_path / "in" / f"{number}.dcm", picture, f"{uid}9", f"p{number}")
    words = ["--dicom", tmp_path / "in", "--masks", tmp_path / "masks.csv", "--out", tmp_path / "out"]
    code, output, errors = call_shard(*words, "--max-quarantined", 100)
    assert code == 0, errors
    assert "2 flat images, worst" in errors
    assert "1 of 2 masks probably not of the image's size, the largest" in errors
    assert "as in row-major order of 160 columns" in errors
    assert "4 samples + 1 quarantined" in output
    listed = (tmp_path / "out" / "quarantine.csv").read_text()
    assert "beyond the image's 32000 pixels (200 x 160); its numbers seem to be absolute starts, not gaps" in listed
    assert "masks CSV belongs to these files; write each start as the gap to the end of the run before it" in listed
    again = call_shard(*words, "--max-quarantined", 100)
    assert "2 flat images, worst" in again[2], "said again of a finished dataset"


def test_pictures_of_few_bits_are_said_and_masks_among_them_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in" / "masks").mkdir(parents=True)
    ramp = np.linspace(0, 4095, 32 * 40).astype(np.uint16).reshape(32, 40)
    mask, black = ((ramp > 4000) * 255).astype(np.uint8), np.zeros((32, 40), np.uint8)
    pictures = {"a": ramp, "b": ramp * 16, "c": ramp * 16, "d": ramp // 16, "black": black}
    pictures |= {"masks/a": mask, "masks/b": mask // 255, "masks/c": black, "masks/d_mask": np.dstack([mask] * 3)}
    for name, pixels in pictures.items():
        (tmp_path / "in" / f"{name}.PNG").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    flags = ["--include-non-frontal"]
    code, output, errors = call_shard("--dicom", tmp_path / "in", "--out", tmp_path / "out", *flags)
    assert code == 0, errors
    assert "2 images: values use 8 of 16 bits, such as d, to values use 12 of 16 bits, such as a" in errors
    assert "1 image: flat image: every pixel has the same level, such as black" in errors
    assert "9 files found = 5 samples + 0 quarantined + 4 left out" in output
    assert "left out: 4 pictures are masks, black but for one other level; left_out.csv lists them" in errors
    assert "give the directory of the images alone (directories of masks: 1 (masks))" in errors
    assert "no frontal chest" not in errors.replace("it is taken for granted that each shows a frontal chest X-ray", "")
    listed = (tmp_path / "out" / "left_out.csv").read_text()
    assert listed.count(",mask picture\n") == 4
    code, _, errors = call_shard("--dicom", tmp_path / "in" / "masks", "--out", tmp_path / "none")
    assert code == 2
    assert "no usable image in 4 files (4 mask picture)" in errors
    assert f", and see {tmp_path / 'none' / 'left_out.csv'}\n" in errors, "no flag takes masks"


def test_masks_that_are_all_empty_are_no_good_dataset(tmp_path: Path) -> None:
    write_images(tmp_path / "in", UIDS, patient="p{}")
    (tmp_path / "masks.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"{uid},-1\n" for uid in UIDS))
    code, _, errors = call_shard("--dicom", tmp_path / "in", "--masks", tmp_path / "masks.csv", "--out", tmp_path / "o")
    assert code == 0
    assert "none of 4 training images has a pneumothorax" in errors
