from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.outputs.table import OUTPUTS


def test_every_output_writes_something_of_its_own(predicted, reader: ShardReader, tmp_path: Path) -> None:
    written: set[str] = set()
    for name, make in OUTPUTS.items():
        folder = tmp_path / name
        folder.mkdir()
        output = make(folder, reader)
        output.add(predicted(0, 5, 5))
        output.close()
        names = {p.name for p in folder.iterdir()}
        assert names
        assert not names & written, name
        written |= names
    assert {"predictions.csv", "findings.csv", "overlays"} <= written
