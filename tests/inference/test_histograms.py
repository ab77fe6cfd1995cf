from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plain_histograms import histogram, quantize

from pneumo.inference.histograms import PredictionHistograms, area, concatenate, dice, mask_area
from pneumo.runtime.errors import UserError


def test_dice_and_area_equal_those_of_the_maps(maps):
    for b in (1, 2, 50, 128, 200, 255):
        for i, (p, g) in enumerate(zip(maps.probability, maps.truth, strict=True)):
            m = p >= b / 256
            expected = 2 * (m & g).sum() / (m.sum() + g.sum()) if m.any() or g.any() else 1.0
            assert dice(maps.histograms, b)[i] == expected
            assert area(maps.histograms, b)[i] == m.sum() / m.size * 1024**2
    assert maps.histograms.max_bin.tolist() == [int(quantize(p).max()) for p in maps.probability]
    assert maps.histograms.truth.tolist() == [g.sum() for g in maps.truth]


def one_image(bins: list[int], truth: list[int]) -> PredictionHistograms:
    """Return the histograms of an image of one row."""
    counts = histogram(np.array([bins], np.uint8), np.array([truth], np.uint8)).astype(np.int32)
    return PredictionHistograms(
        image_id=np.array(["a"]),
        fold=np.zeros(1, np.int16),
        patient=np.zeros(1, np.int32),
        positive=np.array([any(truth)]),
        pixels=np.array([len(bins)]),
        presence_probability=np.full(1, np.nan, np.float32),
        inside=counts[1:],
        outside=counts[:1],
    )


@pytest.mark.parametrize(
    ("bins", "truth", "expected"),
    [
        pytest.param([0, 0, 9, 0], [0, 0, 0, 0], 0.0, id="one pixel too many"),
        pytest.param([0, 0, 7, 0], [0, 0, 0, 0], 1.0, id="below the threshold"),
        pytest.param([0, 0, 0, 0], [1, 0, 0, 0], 0.0, id="one pixel missed, of the lowest bin"),
        pytest.param([0, 9, 0, 0], [1, 1, 0, 0], 2 / 3, id="one of two"),
    ],
)
def test_every_pixel_counts_in_the_dice_of_a_few_of_them(bins, truth, expected):
    one = one_image(bins, truth)
    with np.errstate(all="raise"):
        assert dice(one, 8).tolist() == [expected]
    assert one.truth.tolist() == [sum(truth)]
    assert one.overlap[0, 8] == sum(b >= 8 and t for b, t in zip(bins, truth, strict=True))
    assert concatenate([one]).predicted.tolist() == one.predicted.tolist()


def test_empty_on_empty_scores_one():
    blank = histogram(np.zeros((4, 4), np.uint8), None)[None].astype(np.int32)
    histograms = PredictionHistograms(
        image_id=np.array(["a"]),
        fold=np.zeros(1, np.int16),
        patient=np.zeros(1, np.int32),
        positive=np.array([False]),
        pixels=np.array([16]),
        presence_probability=np.zeros(1, np.float32),
        inside=blank[:, 1],
        outside=blank[:, 0],
    )
    assert dice(histograms, 1).tolist() == [1.0]
    assert area(histograms, 1).tolist() == [0.0]


def same(left: PredictionHistograms, right: PredictionHistograms) -> bool:
    names = ("image_id", "fold", "patient", "positive", "pixels", "presence_probability", "inside", "outside")
    columns = [(getattr(left, name), getattr(right, name)) for name in names]
    return all(a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in columns)


def test_file_gives_back_the_histograms_and_the_same_bytes(maps, maps_without_presence, tmp_path):
    for histograms in (maps.histograms, maps_without_presence.histograms):
        histograms.write(tmp_path / "deep" / "oof.parquet")
        back = PredictionHistograms.read(tmp_path / "deep" / "oof.parquet")
        assert same(back, histograms)
        back.write(tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "deep" / "oof.parquet").read_bytes()
    table = pq.read_table(tmp_path / "again.parquet")
    assert table.num_rows == len(maps_without_presence.histograms)
    assert sum(table["positive"].to_pylist()) == maps_without_presence.histograms.positive.sum()


def test_ids_from_a_table_of_objects_are_written_too(maps, tmp_path):
    histograms = replace(maps.histograms, image_id=maps.histograms.image_id.astype(object))
    histograms.write(tmp_path / "oof.parquet")
    assert same(PredictionHistograms.read(tmp_path / "oof.parquet"), maps.histograms)


def test_damaged_and_foreign_files_are_refused(maps, tmp_path):
    path = tmp_path / "oof.parquet"
    with pytest.raises(UserError, match=r"oof\.parquet cannot be read: FileNotFoundError"):
        PredictionHistograms.read(path)
    maps.histograms.write(path)
    torn = path.read_bytes()[:-100]
    path.write_bytes(torn)
    with pytest.raises(UserError, match="cannot be read"):
        PredictionHistograms.read(path)
    pq.write_table(pa.table({"image_id": ["a"]}), path)
    with pytest.raises(UserError, match=r"oof\.parquet: .* rows, .*; expected prediction histograms of format version"):
        PredictionHistograms.read(path)
    maps.histograms.write(path)
    pq.write_table(pq.read_table(path).drop_columns(["positive"]), path)
    with pytest.raises(UserError, match=r"oof\.parquet: .* rows, .*; expected prediction histograms of format version"):
        PredictionHistograms.read(path)


def test_file_of_another_version_is_refused_in_one_line(maps, tmp_path):
    path = tmp_path / "oof.parquet"
    maps.histograms.write(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"pneumo.format_version": "3"}), path)
    with pytest.raises(UserError, match=r": 30 rows, pneumo\.format_version 3, .* of format version 2: "):
        PredictionHistograms.read(path)
    names = ["head" if name == "presence_probability" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata({"pneumo.evidence": "1"}), path)
    with pytest.raises(
        UserError, match=r": 30 rows, pneumo\.evidence 1, columns .*; expected .* of format version 2: "
    ) as raised:
        PredictionHistograms.read(path)
    assert "\n" not in str(raised.value)


def test_selecting_and_concatenating_are_inverse(maps):
    whole = maps.histograms
    odd = np.arange(len(whole)) % 2 == 1
    joined = concatenate([whole.select(odd), whole.select(~odd)])
    order = np.argsort(np.concatenate([np.flatnonzero(odd), np.flatnonzero(~odd)]))
    assert same(joined.select(order), whole)


def with_removal(min_component: float) -> PredictionHistograms:
    """Return the histograms of an image of 4x4 pixels: a component of three pixels, and one of a pixel."""
    bins, truth = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    bins[0, 0], bins[3, 1:] = 200, (90, 100, 100)
    truth[3, 2:], truth[0, 0] = 1, 1
    opened = np.where(bins == 200, 0, bins)  # what is below 3 px
    opened[3, 1:] = 90
    counts, kept = (histogram(each, truth).astype(np.int32) for each in (bins, opened))
    one = replace(one_image([0] * 16, [1] + [0] * 15), inside=counts[1:], outside=counts[:1])
    return replace(one, min_component=min_component, kept_inside=kept[1:], kept_outside=kept[:1])


def test_masks_lose_their_small_components_and_what_decides_does_not() -> None:
    one = with_removal(3 * 2.0**16)
    assert (one.max_bin.tolist(), one.truth.tolist()) == ([200], [3])
    assert area(one, 1).tolist() == [4 * 2**16]
    assert mask_area(one, 1).tolist() == [3 * 2**16]
    assert (one.predicted[0, [90, 91, 200]].tolist(), one.masked[0, [90, 91, 200]].tolist()) == ([4, 3, 1], [3, 0, 0])
    assert [dice(one, b).tolist() for b in (1, 90, 91)] == [[2 * 2 / 6], [2 * 2 / 6], [0.0]]
    plain = one.without_removal()
    assert [dice(plain, b).tolist() for b in (1, 90, 91)] == [[2 * 3 / 7], [2 * 3 / 7], [1.0]]


def test_the_file_says_what_was_removed(tmp_path) -> None:
    one, path = with_removal(101.0), tmp_path / "oof.parquet"
    one.write(path)
    back = PredictionHistograms.read(path)
    assert same(back, one)
    assert back.min_component == 101
    assert np.array_equal(back.kept_inside, one.kept_inside)
    assert np.array_equal(back.kept_outside, one.kept_outside)
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"pneumo.format_version"], metadata[b"pneumo.min_component"]) == (b"3", b"101.0")
    one.without_removal().write(path)
    assert pq.read_schema(path).metadata == {b"pneumo.format_version": b"2"}
    assert not {"kept_inside", "kept_outside"} & set(pq.read_table(path).column_names)


@pytest.mark.parametrize("limit", ["nan", "inf", "-1", "0", "2e6", "x", "0101.0"])
def test_a_removal_of_no_size_is_refused(limit, tmp_path) -> None:
    path = tmp_path / "oof.parquet"
    with_removal(101.0).write(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"pneumo.min_component": limit}), path)
    with pytest.raises(UserError, match=r"oof\.parquet: 1 rows, .*; expected prediction histograms"):
        PredictionHistograms.read(path)


def test_an_opened_map_has_no_pixel_in_a_higher_bin_and_as_many() -> None:
    one = with_removal(101.0)
    for b, count in ((200, 1), (0, 1)):
        kept = one.kept_outside.copy()
        kept[0, b] += count
        kept[0, 90] -= count * (b == 200)
        with pytest.raises(AssertionError, match="small components contradict"):
            replace(one, kept_outside=kept)


def test_the_removal_is_that_of_all_images_or_of_none() -> None:
    one = with_removal(101.0)
    other = replace(one, image_id=np.array(["b"]))
    assert concatenate([one, other]).min_component == one.select(np.array([0])).min_component == 101
    assert concatenate([one, other]).masked.tolist() == one.masked.tolist() * 2
    for another in (other.without_removal(), replace(other, min_component=50.0)):
        mixed = concatenate([one, another])
        assert mixed.min_component == 0
        assert mixed.masked.tolist() == one.predicted.tolist() * 2


def test_an_image_cannot_count_twice(maps):
    with pytest.raises(AssertionError, match="twice"):
        concatenate([maps.histograms, maps.histograms])


@pytest.mark.parametrize("name", ["positive", "pixels"])
def test_columns_must_go_with_the_histograms(maps, name):
    column = getattr(maps.histograms, name).copy()
    column[0] = not column[0]
    with pytest.raises(AssertionError, match=name):
        replace(maps.histograms, **{name: column})
