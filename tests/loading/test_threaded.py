"""Batches whose samples are prepared in threads."""

import threading
import time

import pytest
import torch
from loading_data import EVERYTHING, plan

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

    def prepare_sample(self, batch, index):
        row = int(batch.plan.rows[index])
        # The first samples take longest, so that others overtake them.
        time.sleep(0.02 if index == 0 else 0.001)
        if row == self.damaged:
            raise UserError("image is torn", "a whole one", "repair it")
        batch.image[index] = row
        batch.mask[index, 0, 0, 0] = row % 2
        self.prepared.append(row)
        return batch.plan.parameters(index, self.reader.table)

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
    assert without.mask.shape == (2, 1, 64, 64)
    assert not without.mask.any()


def test_parameters_are_those_of_each_sample(data):
    asked = plan([0, 3], 64, EVERYTHING)
    with_parameters = []

    class Keeping(Recording):
        def finish(self, batches):
            for batch in batches:
                with_parameters.extend(batch.parameters())
                yield batch.to_batch(batch.image)

    list(Keeping(data, workers=2)([asked]))
    for index, parameters in enumerate(with_parameters):
        assert (parameters.matrix == asked.parameters(index, data.table).matrix).all()
    assert len(with_parameters) == 2
