"""The benchmarks' files."""

from pneumo.bench import source
from pneumo.bench.settings import Settings


def test_real_files_are_spread_over_the_directory_and_keep_their_paths(tmp_path):
    root = tmp_path / "real"
    for number in range(9):
        path = root / f"study-{number}" / "image"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]))
    settings = Settings(dicom=root, masks=tmp_path / "masks.csv", images=3)
    inputs = source.Source(settings, tmp_path / "work").inputs
    copied = {path.relative_to(inputs.dicom).as_posix() for path in inputs.dicom.rglob("image")}
    assert copied == {"study-0/image", "study-4/image", "study-8/image"}
