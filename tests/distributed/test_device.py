"""The choice of a device and of its precision, with stand-ins for GPUs."""

from collections.abc import Iterator

import pytest
import torch
from fake_cuda import A100, H100, OLDER, P100, T4, V100, WHEEL, FakeCuda

from pneumo.distributed import device as device_module
from pneumo.distributed.device import (
    CPU,
    HardwarePrecision,
    choose_device,
    has_kernels,
    nearest_precision,
    resolve_precision,
    warn_of_emulated_precision,
)
from pneumo.runtime.errors import UserError

FLAGS = ("benchmark", "deterministic", "allow_tf32")


@pytest.fixture(autouse=True)
def flags() -> Iterator[None]:
    """Restore cuDNN's flags."""
    before = {name: getattr(torch.backends.cudnn, name) for name in FLAGS}
    yield
    for name, value in before.items():
        setattr(torch.backends.cudnn, name, value)


@pytest.mark.parametrize(
    ("gpu", "precision"),
    [(P100, "fp32"), (V100, "fp16"), (T4, "fp16"), (A100, "bf16"), (H100, "bf16")],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_auto_is_what_the_hardware_has(
    gpu: tuple[str, tuple[int, int]], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(*gpu, architectures=OLDER).install(monkeypatch)
    device = choose_device({"LOCAL_RANK": "3"})
    assert device == torch.device("cuda", 3)
    assert resolve_precision("auto", device) == precision
    assert nearest_precision("auto", device) == precision


def test_auto_is_fp32_on_a_cpu() -> None:
    assert [resolve_precision(kind, CPU) for kind in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]


@pytest.mark.parametrize(
    ("gpu", "asked", "alternative"), [(T4, "bf16", "fp16"), (P100, "bf16", "fp32"), (P100, "fp16", "fp32")]
)
def test_a_precision_that_the_gpu_does_not_have_is_refused_by_its_name(
    gpu: tuple[str, tuple[int, int]], asked: str, alternative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(*gpu, architectures=OLDER).install(monkeypatch)
    device = choose_device({})
    with pytest.raises(UserError, match=rf"--precision {asked} on {gpu[0]}.*; set --precision {alternative}"):
        resolve_precision(asked, device)
    assert nearest_precision(asked, device) == "fp32"


@pytest.mark.parametrize(("has_gpu", "kept"), [(True, 0), (False, 1)])
def test_freed_memory_is_kept_where_the_cpu_computes(has_gpu: bool, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(device_module, "keep_freed_memory", lambda: calls.append(True))
    if has_gpu:
        FakeCuda(*A100, architectures=OLDER).install(monkeypatch)
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choose_device({"LOCAL_RANK": "1"})
    assert len(calls) == kept


@pytest.mark.parametrize(
    ("features", "precision", "warns"),
    [
        ({"avx2", "avx512f"}, "bf16", True),
        ({"avx2"}, "fp32", False),
        ({"avx512_bf16"}, "bf16", False),
        ({"amx_bf16"}, "bf16", False),
        ({"asimd", "bf16"}, "bf16", False),
        (set(), "bf16", False),
    ],
)
def test_bf16_is_warned_of_on_a_cpu_without_instructions_for_it(
    features: set[str],
    precision: HardwarePrecision,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(device_module, "processor_features", lambda: frozenset(features))
    warn_of_emulated_precision(precision, CPU)
    assert ["--precision fp32" in record.getMessage() for record in caplog.records] == [True] * warns
    caplog.clear()
    warn_of_emulated_precision(precision, torch.device("cuda"))
    assert not caplog.records


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match=r"--precision fp16 on cpu.*; expected fp32; set --precision fp32"):
        resolve_precision("fp16", CPU)


def test_the_device_is_set_before_anything_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda(*A100, count=4)
    fake.install(monkeypatch)
    device = choose_device({"LOCAL_RANK": "6"})
    resolve_precision("auto", device)
    assert fake.calls[0] == ("set_device", torch.device("cuda", 2))
    assert all(asked in (device, False) for _, asked in fake.calls)


def test_convolutions_are_chosen_by_their_shape_and_fp32_is_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.backends.cudnn.benchmark = True
    FakeCuda(*A100).install(monkeypatch)
    choose_device({})
    assert [getattr(torch.backends.cudnn, name) for name in FLAGS] == [False, True, False]


@pytest.mark.parametrize("gpu", [V100, P100], ids=lambda gpu: gpu[0])
def test_a_gpu_without_kernels_in_the_installed_torch_is_refused(
    gpu: tuple[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(*gpu).install(monkeypatch)
    with pytest.raises(
        UserError, match=rf"{gpu[0]} has compute capability {gpu[1][0]}\.0, .* has no kernels; .*{WHEEL}; install torch"
    ):
        choose_device({})


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((7, 5), WHEEL, True),
        ((8, 9), WHEEL, True),  # an RTX 40xx runs the code for 8.6
        ((12, 1), WHEEL, True),
        ((7, 0), WHEEL, False),
        ((11, 0), WHEEL, False),
        ((8, 0), "sm_86", False),  # code for a later minor version
        ((9, 0), "sm_90a", True),
        ((9, 1), "sm_90a", False),
        ((10, 3), "sm_100f", True),
        ((9, 0), "sm_75 compute_80", True),
        ((7, 5), "sm_90 compute_80", False),
        ((9, 4), "gfx942", True),  # another vendor's
        ((9, 0), "", True),
    ],
)
def test_kernels_run_from_their_architecture_on(capability: tuple[int, int], architectures: str, runs: bool) -> None:
    assert has_kernels(capability, architectures.split()) == runs


@pytest.mark.parametrize(
    ("gpus", "cuda", "local_rank", "built"),
    [(2, "13.0", "0", "CUDA 13.0"), (2, None, "0", "the CPU alone"), (2, "13.0", "1", None), (0, "13.0", "0", None)],
)
def test_gpus_that_torch_cannot_use_are_not_passed_over_in_silence(
    gpus: int,
    cuda: str | None,
    local_rank: str,
    built: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(device_module, "count_gpus", lambda _: gpus)
    assert choose_device({"LOCAL_RANK": local_rank}) == CPU
    expected = (
        f"lists 2 GPU(s), and torch {torch.__version__}, built for {built}, cannot use them: computing on the CPU"
    )
    assert [expected in message for message in caplog.messages] == [True] * (built is not None)
