"""The choice of a loader."""

import pytest
import torch

from pneumo.loading import build
from pneumo.loading.augmentation import distortion
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.build import build_loader, resolve_loader
from pneumo.loading.opencv import OpenCvLoader
from pneumo.runtime.errors import UserError

CPU = torch.device("cpu")


def distorting(probability: float) -> Augmentation:
    return Augmentation(distortion=Distortion(probability=probability))


@pytest.mark.parametrize(
    ("kind", "device", "installed", "probability", "expected"),
    [
        pytest.param("auto", "cpu", True, 0, "opencv", id="auto on a CPU"),
        pytest.param("auto", "cuda", False, 0, "opencv", id="auto without DALI"),
        pytest.param("auto", "cuda", True, 0.5, "opencv", id="auto with distortion"),
        pytest.param("auto", "cuda", True, 0, "dali", id="auto on a GPU"),
        pytest.param("opencv", "cuda", True, 0, "opencv", id="opencv anywhere"),
        pytest.param("dali", "cpu", True, 0, "dali", id="dali on a CPU"),
    ],
)
def test_loader_is_chosen(monkeypatch, kind, device, installed, probability, expected):
    monkeypatch.setattr(build, "has_dali", lambda: installed)
    assert resolve_loader(kind, torch.device(device), distorting(probability)) == expected


def test_dali_is_built_when_asked_for(data):
    pytest.importorskip("nvidia.dali")
    from pneumo.loading.dali import DaliLoader

    assert type(build_loader("dali", data.reader, CPU, 1)) is DaliLoader


@pytest.mark.parametrize(
    ("device", "keep_decoded", "kept"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_dali_keeps_decoded_images_on_a_gpu_where_they_are_asked_for_again(
    data, monkeypatch, device, keep_decoded, kept
):
    pytest.importorskip("nvidia.dali")
    from pneumo.loading import dali, device_cache

    monkeypatch.setattr(dali, "DaliLoader", lambda *arguments: arguments)
    monkeypatch.setattr(device_cache, "DeviceCache", lambda device: f"cache of {device}")
    built = build_loader("dali", data.reader, torch.device(device), 1, keep_decoded=keep_decoded)
    assert built[-1] == ("cache of cuda" if kept else None)


def test_dali_refuses_distortion(data):
    with pytest.raises(
        UserError,
        match=r"loader dali with augmentation distortion; expected probability 0 of distortion, or the loader opencv.*"
        r"set --loader opencv or --augmentation\.distortion\.probability 0",
    ):
        build_loader("dali", data.reader, CPU, 1, augmentation=distorting(0.3))


def test_missing_dali_is_named_with_the_extra_to_install(data, monkeypatch):
    monkeypatch.setattr(build, "has_dali", lambda: False)
    with pytest.raises(UserError, match=r"DALI is not installed.*set --loader opencv"):
        build_loader("dali", data.reader, CPU, 1)


def test_albumentationsx_is_refused_where_distortion_needs_the_original(data, monkeypatch):
    class Installed:
        version = "2.5.1"

    monkeypatch.setattr(distortion, "distribution", lambda name: Installed())
    with pytest.raises(UserError, match=r"albumentationsx 2\.5\.1 is installed"):
        build_loader("auto", data.reader, CPU, 1, augmentation=distorting(1))
    assert type(build_loader("auto", data.reader, CPU, 1, augmentation=Augmentation())) is OpenCvLoader
