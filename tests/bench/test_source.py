"""The benchmarks' files."""

from pneumo.bench import source
from pneumo.bench.settings import Settings
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable


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


def test_images_of_a_dataset_are_spread_over_its_training_images(dataset):
    found = source.Source(Settings(dataset=dataset, images=3), dataset / "unused").reader
    table = SampleTable.read(dataset)
    rows = table.select("train")
    assert (
        found.table.image_id.tolist() == table.image_id[rows[[0, round((len(rows) - 1) / 2), len(rows) - 1]]].tolist()
    )
    assert found.image(1) == ShardReader(dataset, table).image(int(rows[round((len(rows) - 1) / 2)]))
