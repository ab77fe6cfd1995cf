"""Transforms of the images of a batch."""

from typing import ClassVar

import torch

from pneumo.loading.augmentation.transforms import PixelTransform, apply_to_batch


class Add(PixelTransform):
    """Adds a number to an image, and records how many images were changed at once."""

    calls: ClassVar[list[int]] = []

    def __init__(self, number):
        self.number = number

    def apply_to_arrays(self, image, mask):
        image += self.number

    @classmethod
    def apply_to_tensors(cls, transforms, images):
        cls.calls.append(len(images))
        for transform, image in zip(transforms, images, strict=True):
            image.add_(transform.number)


class Double(PixelTransform):
    """Doubles an image; it has no way of its own to change several."""

    def apply_to_arrays(self, image, mask):
        image *= 2

    def apply_to_tensor(self, image):
        image *= 2


def test_each_image_gets_its_own_transforms_in_their_order(monkeypatch):
    monkeypatch.setattr(Add, "calls", [])
    images = torch.ones(5, 1, 2, 2)
    apply_to_batch([(Add(1), Double()), (), (Double(), Add(1)), (Add(5),), (Double(), Double(), Add(3))], images)
    assert images[:, 0, 0, 0].tolist() == [4, 1, 3, 6, 7]
    # The first transform of two images at once, the second of one, the third of one.
    assert Add.calls == [2, 1, 1]


def test_without_transforms_nothing_changes():
    images = torch.rand(2, 1, 4, 4)
    before = images.clone()
    apply_to_batch([(), ()], images)
    assert torch.equal(images, before)
