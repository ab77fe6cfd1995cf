from pathlib import Path

from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.registry import OUTPUTS


def test_every_output_writes_what_the_registry_names(predicted, context: OutputContext, tmp_path: Path) -> None:
    for entry in OUTPUTS.values():
        output = entry.make(tmp_path, context)
        output.add(predicted(0, 5, 5))
        output.close()
    assert {p.name for p in tmp_path.iterdir()} == {entry.file for entry in OUTPUTS.values()}
    assert {p.name for p in tmp_path.iterdir()} >= {"predictions.csv", "findings.csv", "overlays"}
