import numpy as np
import pyarrow as pa
import pytest

from pneumo.dataset.table_columns import to_arrow, to_numpy

LONG = ["1.2.840.10008.5.1.4.1", "1.2.840.10008.5.1.4.22", "3"]


@pytest.mark.parametrize(
    "values",
    [
        LONG,
        LONG * 3,
        ["a" * 4000, "b", *LONG],
        ["Röntgen der Thoraxorgane", *LONG],
        ["ends with a zero\0", "\0begins with one", "\0", *LONG],
        ["", *LONG],
        [""] * 9,
        ["PA", "AP", ""],
        ["ä", "é"],
        [],
    ],
    ids=lambda values: "-".join(values)[:20].replace("\0", "0"),
)
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("piece", [1, 2, 100])
def test_strings_come_back_as_they_are(
    values: list[str], chunks: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.dataset.table_columns._PIECE", piece)
    middle = len(values) // chunks
    column = pa.chunked_array([values[:middle], values[middle:]], pa.string())
    found = to_numpy(column)
    assert found.tolist() == values
    assert found.dtype.kind in "TU"
    assert to_arrow(found, pa.string()).to_pylist() == values


@pytest.mark.parametrize("values", [["ab" * 32, "cd" * 32], ["ab", "", "cd" * 32], ["", ""], []])
def test_digests_are_of_one_length(values: list[str]) -> None:
    found = to_numpy(pa.chunked_array([values], pa.string()), are_digests=True)
    assert found.dtype == np.dtype("S64")
    assert [value.decode() for value in found.tolist()] == values


def test_numbers_can_be_written_to() -> None:
    found = to_numpy(pa.chunked_array([[1, 2], [3]]))
    found[0] = 5
    assert found.tolist() == [5, 2, 3]
