"""Batches whose samples are prepared in threads."""

import threading
import time

import numpy as np
import pytest
import torch
from loading_data import EVERYTHING, plan

from pneumo.loading.augmentation.parameters import AugmentationParameters
from pneumo.loading.contract import BatchPlan
from pneumo.loading.threaded import InFlight, ThreadedLoader
from pneumo.runtime.errors import UserError

CPU = torch.device("cpu")


class Recording(ThreadedLoader):
    """Fills images with their rows; records which samples were prepared, and damages one."""

    images_in_threads = True
    damaged = -1

    def __init__(self, data, workers: int) -> None:
        super().__init__(data.reader, CPU, workers)
        self.prepared: list[int] = []
        self.given: dict[int, AugmentationParameters] = {}

    def prepare_sample(self, batch, index, parameters):
        row = int(batch.plan.rows[index])
        # The first samples take longest, so that others overtake them.
        time.sleep(0.02 if index == 0 else 0.001)
        if row == self.damaged:
            raise UserError("image is torn", "a whole one", "repair it")
        batch.image[index] = row
        batch.mask_of(index)[0, 0] = row % 2
        self.prepared.append(row)
        self.given[row] = parameters

    def finish(self, batches):
        for batch in batches:
            batch.parameters()
            yield batch.to_batch(batch.image)


def test_batches_come_in_order_with_each_sample_in_its_place(data):
    plans = [plan([0, 1, 2], 32), plan([6, 5], 64), plan([3], 32)]
    batches = list(Recording(data, workers=3)(plans))
    assert [batch.image[:, 0, 0, 0].tolist() for batch in batches] == [[0, 1, 2], [6, 5], [3]]
    assert [batch.mask.sum(dim=(1, 2, 3)).tolist() for batch in batches] == [[0, 1, 0], [0, 1], [1]]
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [6, 5], [3]]
    assert batches[1].mask.shape == (2, 1, 64, 64)
    assert batches[0].mask.dtype == torch.float32


def test_damage_ends_the_batch_that_has_it_and_the_threads(data):
    before = set(threading.enumerate())
    loader = Recording(data, workers=2)
    loader.damaged = 4
    batches = loader([plan([0, 1], 32), plan([2, 4], 32), *(plan([5, 6], 32) for _ in range(50))])
    assert next(batches).rows.tolist() == [0, 1]
    with pytest.raises(UserError, match="image is torn"):
        next(batches)
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("loader")]
    assert len(loader.prepared) < 20


def test_closing_early_cancels_the_samples_that_have_not_begun(data):
    loader = Recording(data, workers=1)
    batches = loader(plan([0] * 4, 32) for _ in range(100))
    next(batches)
    batches.close()
    prepared = len(loader.prepared)
    time.sleep(0.1)
    assert len(loader.prepared) == prepared < 12


def test_memory_for_images_is_allocated_only_where_threads_make_them():
    batch = plan([0, 1], 64)
    assert InFlight(batch, CPU, with_image=True).image.shape == (2, 1, 64, 64)
    without = InFlight(batch, CPU, with_image=False)
    assert without.image.numel() == 0
    assert [without.mask_of(index).tolist() for index in range(2)] == np.zeros((2, 64, 64)).tolist()


def test_masks_are_bytes_where_they_cross_a_bus_only():
    assert InFlight(plan([0], 64), CPU, with_image=True).mask_of(0).dtype == np.float32


@pytest.mark.gpu
def test_masks_cross_the_bus_as_bytes():
    batch = InFlight(plan([0], 64), torch.device("cuda"), with_image=True)
    assert batch.mask_of(0).dtype == np.uint8
    assert torch.from_numpy(batch.mask_of(0)).is_pinned()
    made = batch.to_batch(batch.image.cuda())
    assert made.mask.is_cuda
    assert made.mask.dtype == torch.float32


@pytest.mark.parametrize("workers", [1, 3])
def test_parameters_are_those_of_each_sample_and_drawn_once(data, monkeypatch, workers):
    asked = plan([0, 3, 5], 64, EVERYTHING)
    expected = [asked.parameters(index, data.table) for index in range(3)]
    drawn, of_batch = [], []
    draw = BatchPlan.parameters

    def count(self, index, table):
        drawn.append(index)
        return draw(self, index, table)

    monkeypatch.setattr(BatchPlan, "parameters", count)

    class Keeping(Recording):
        def finish(self, batches):
            for batch in batches:
                of_batch.extend(batch.parameters())
                yield batch.to_batch(batch.image)

    loader = Keeping(data, workers)
    list(loader([asked]))
    assert drawn == [0, 1, 2]
    for row, index in ((0, 0), (3, 1), (5, 2)):
        assert loader.given[row] is of_batch[index]
        assert (of_batch[index].matrix == expected[index].matrix).all()
        assert of_batch[index].pixel_transforms == expected[index].pixel_transforms
