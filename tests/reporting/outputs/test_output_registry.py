from pathlib import Path

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.outputs.registry import OUTPUTS


def test_every_output_writes_what_the_registry_names(predicted, reader: ShardReader, tmp_path: Path) -> None:
    for file, make in OUTPUTS.values():
        output = make(tmp_path / file, reader)
        output.add(predicted(0, 5, 5))
        output.close()
    assert {p.name for p in tmp_path.iterdir()} == {file for file, _ in OUTPUTS.values()}
    assert {p.name for p in tmp_path.iterdir()} >= {"predictions.csv", "findings.csv", "overlays"}
