"""ResNet-34 with group normalization is found by its name, and has no batch statistics."""

import torch
from tiny_models import image, make
from torch import nn

from pneumo.modeling.resnet34_gn import ResNet34GN


def test_a_network_with_it_predicts_at_the_size_of_its_input() -> None:
    model = make(encoder="resnet34-gn")
    assert isinstance(model.net.encoder, ResNet34GN)
    assert model(image(2)).logits.shape == (2, 1, 64, 64)


def test_an_image_is_encoded_alike_alone_and_in_a_batch() -> None:
    encoder = make(encoder="resnet34-gn").net.encoder.train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    images = image(3).expand(3, 3, 64, 64)
    for alone, together in zip(encoder(images[:1]), encoder(images), strict=True):
        torch.testing.assert_close(alone, together[:1], rtol=1e-4, atol=1e-4)
