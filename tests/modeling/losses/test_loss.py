"""The registry of terms, their weighted sum, and the same numbers as before there was a registry."""

import hashlib
import math
from typing import Any

import pytest
import torch
from loss_batches import batch

from pneumo.modeling.losses.inputs import LossInputs
from pneumo.modeling.losses.loss import FUNCTIONS, SUMS, loss
from pneumo.modeling.losses.registry import TERMS, LossConfig
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.errors import UserError

ALL_TERMS = LossConfig(bce=3.0, dice=1.0, focal=4.0, presence=0.5)


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    losses = loss(*batch(), ALL_TERMS)
    t = {name: value.double() for name, value in losses.terms.items()}
    expected = 3 * t["bce"] + t["dice"] + 4 * t["focal"] + 0.5 * t["presence"]
    torch.testing.assert_close(losses.total.double(), expected, rtol=1e-6, atol=0)


def test_by_default_the_total_is_cross_entropy_plus_dice() -> None:
    losses = loss(*batch(), LossConfig())
    torch.testing.assert_close(losses.total, losses.terms["bce"] + losses.terms["dice"], rtol=1e-6, atol=0)


def test_sums_are_over_the_images_in_the_order_of_their_names() -> None:
    losses = loss(*batch(), ALL_TERMS)
    sums = dict(zip(SUMS, losses.sums().tolist(), strict=True))
    assert sums["total"] == losses.total.sum().item()
    assert all(sums[name] == value.sum().item() for name, value in losses.terms.items())
    assert not losses.sums().requires_grad


def test_a_term_on_the_mask_without_a_weight_is_zero() -> None:
    losses = loss(*batch(), LossConfig(bce=0.0, focal=0.0))
    assert not losses.terms["bce"].any()
    assert not losses.terms["focal"].any()
    assert torch.equal(losses.total, losses.terms["dice"])


# Three images of 8x8, the second one empty; numbers of the first release, whose loss was one function.
GOLDEN: list[tuple[dict[str, Any], dict[str, list[str]], str]] = [
    (
        {"bce": 3.0, "dice": 1.0, "focal": 4.0, "presence": 0.5},
        {
            "total": ["0x1.0cb03cp+3", "0x1.54f2d4p+3", "0x1.47a168p+3"],
            "bce": ["0x1.1ce380p+0", "0x1.8609eap+0", "0x1.7edb5cp+0"],
            "dice": ["0x1.980e22p-1", "0x1.ffe212p-1", "0x1.b8a1e6p-1"],
            "focal": ["0x1.bc8752p-1", "0x1.39d4b8p+0", "0x1.2e37a8p+0"],
            "presence": ["0x1.938368p+0", "0x1.71a834p-2", "0x1.5a4d04p-2"],
        },
        "6abd9e04414de7acf29d15b2c5893b4c8ed3201a766a529c89c19f9704a4241d",
    ),
    (
        {"bce": 0.0, "dice": 1.0, "focal": 10.0, "focal_gamma": 1.5, "dice_on": "positive"},
        {
            "total": ["0x1.3b4730p+3", "0x1.9800ccp+3", "0x1.a601e8p+3"],
            "bce": ["0x0.0p+0", "0x0.0p+0", "0x0.0p+0"],
            "dice": ["0x1.980e22p-1", "0x0.0p+0", "0x1.b8a1e6p-1"],
            "focal": ["0x1.cfa3b0p-1", "0x1.46670ap+0", "0x1.3b9308p+0"],
            "presence": ["0x1.938368p+0", "0x1.71a834p-2", "0x1.5a4d04p-2"],
        },
        "a62214361e7313bf256b05ed01c7206b4292710ca6e34a101223c8768f29085e",
    ),
]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="exp and log round otherwise elsewhere"
)
@pytest.mark.parametrize(("config", "values", "gradients"), GOLDEN)
def test_losses_and_gradients_are_those_of_the_first_release(
    config: dict[str, Any], values: dict[str, list[str]], gradients: str
) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn(3, 1, 8, 8, generator=generator) * 3).requires_grad_()
    presence = torch.randn(3, generator=generator).requires_grad_()
    mask = (torch.rand(3, 1, 8, 8, generator=generator) > 0.9).float()
    mask[1] = 0
    losses = loss(SegmenterOutput(logits, presence), mask, LossConfig(**config))
    for name, expected in values.items():
        found = losses.total if name == "total" else losses.terms[name]
        assert found.tolist() == [float.fromhex(number) for number in expected], name
    losses.total.sum().backward()
    assert logits.grad is not None
    assert presence.grad is not None
    exact, exact_presence = (tensor.detach().double().requires_grad_() for tensor in (logits, presence))
    loss(SegmenterOutput(exact, exact_presence), mask.double(), LossConfig(**config)).total.sum().backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(presence.grad.double(), exact_presence.grad, rtol=1e-5, atol=1e-9)
    # With AVX2 alone, powers round otherwise on some processors than on others.
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        found_bytes = logits.grad.numpy().tobytes() + presence.grad.numpy().tobytes()
        assert hashlib.sha256(found_bytes).hexdigest() == gradients


def test_global_batch_is_the_sum_of_its_micro_batches_and_ranks() -> None:
    whole, mask = batch(8)
    loss(whole, mask, ALL_TERMS).total.sum().div(8).backward()
    split, _ = batch(8)
    assert split.presence_logit is not None
    assert whole.presence_logit is not None
    totals = []
    for part in (slice(0, 3), slice(3, 4), slice(4, 8)):
        total = loss(SegmenterOutput(split.logits[part], split.presence_logit[part]), mask[part], ALL_TERMS).total
        totals.append(total.detach())
        total.sum().div(8).backward()
    torch.testing.assert_close(torch.cat(totals), loss(whole, mask, ALL_TERMS).total, rtol=1e-6, atol=0)
    torch.testing.assert_close(split.logits.grad, whole.logits.grad, rtol=1e-6, atol=0)
    torch.testing.assert_close(split.presence_logit.grad, whole.presence_logit.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", [-80.0, -8.0, 0.0, 8.0, 80.0])
@pytest.mark.parametrize("full", [False, True])
def test_finite_in_every_precision_on_empty_and_full_masks(dtype: torch.dtype, level: float, full: bool) -> None:
    logits = torch.full((2, 1, 64, 64), level, dtype=dtype, requires_grad=True)
    presence = torch.full((2,), level, dtype=dtype, requires_grad=True)
    losses = loss(SegmenterOutput(logits, presence), torch.full((2, 1, 64, 64), float(full)), ALL_TERMS)
    for value in (losses.total, *losses.terms.values()):
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    losses.total.sum().backward()
    assert logits.grad is not None
    assert presence.grad is not None
    assert logits.grad.isfinite().all()
    assert presence.grad.isfinite().all()


@pytest.mark.parametrize("level", [-6.0, 0.0, 6.0])
@pytest.mark.parametrize("term", [name for name, term in TERMS.items() if term.output == "mask"])
def test_all_empty_batch_pushes_every_pixel_down(term: str, level: float) -> None:
    logits = torch.full((3, 1, 64, 64), level, requires_grad=True)
    weights = {name: float(name == term) for name in TERMS}
    loss(SegmenterOutput(logits, None), torch.zeros_like(logits), LossConfig(**weights)).total.sum().backward()  # type: ignore[arg-type]
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_autocast_around_the_loss_changes_nothing() -> None:
    output, mask = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(output, mask, ALL_TERMS)
    outside = loss(output, mask, ALL_TERMS)
    assert torch.equal(inside.total, outside.total)
    assert all(torch.equal(inside.terms[name], value) for name, value in outside.terms.items())


def test_a_term_of_matrix_products_is_computed_in_float32_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast would compute them in bf16; the terms that there are have none."""

    def product(inputs: LossInputs, **_: object) -> torch.Tensor:
        flat = inputs.logits.flatten(1)
        return (flat @ flat.T).diagonal()

    monkeypatch.setitem(FUNCTIONS, "bce", product)
    output, mask = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(output, mask, LossConfig()).terms["bce"]
    torch.testing.assert_close(found, output.logits.float().square().sum((1, 2, 3)), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bce": -1.0}, "--loss.bce -1.0; expected 0 to 1e.38"),
        ({"dice": math.nan}, "--loss.dice nan; expected a finite number"),
        ({"focal": math.inf}, "--loss.focal inf; expected a finite number"),
        ({"bce": 0.0, "dice": 0.0}, "--loss.bce, .*--loss.log-dice and --loss.focal are all 0"),
        ({"focal_gamma": 0.5}, "--loss.focal-gamma 0.5; expected 1 to 16"),
        ({"dice_on": "some"}, "--loss.dice-on some; expected one of all, positive"),
    ],
)
def test_wrong_weights_and_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LossConfig(**config)
