import math

import pytest
import torch
import torch.nn.functional as F

from pneumo.modeling.losses import SMOOTHING, LossConfig, dice_loss, loss
from pneumo.modeling.models import SegmenterOutput
from pneumo.runtime.errors import UserError

torch.set_num_threads(1)
EVERYTHING = LossConfig(bce=3.0, dice=1.0, focal=4.0, presence=0.5)


def batch(count: int = 4, size: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(count, 1, size, size, generator=generator) * 3).to(dtype).requires_grad_()
    head = torch.randn(count, generator=generator).to(dtype).requires_grad_()
    mask = (torch.rand(count, 1, size, size, generator=generator) > 0.95).float()
    mask[1::2] = 0
    return SegmenterOutput(logits, head), mask


def test_terms_are_the_textbook_ones():
    output, mask = batch()
    parts = loss(output, mask, EVERYTHING)
    for i in range(4):
        z, g = output.logits[i].double().flatten(), mask[i].double().flatten()
        p, s = torch.sigmoid(z), SMOOTHING * z.numel()
        truth = torch.where(g > 0, p, 1 - p)
        bce = -truth.log().mean()
        focal = -((1 - truth) ** 2 * truth.log()).mean()
        dice = 1 - (2 * (p * g).sum() + s) / (p.sum() + g.sum() + s)
        empty = F.softplus(output.presence_logit[i].double() * (-1 if g.any() else 1))
        expected = torch.stack([3 * bce + dice + 4 * focal + 0.5 * empty, bce, dice, focal, empty]).float()
        torch.testing.assert_close(torch.stack([part[i] for part in parts]), expected, rtol=1e-5, atol=1e-6)


def test_global_batch_is_the_sum_of_its_micro_batches_and_ranks():
    whole, mask = batch(8)
    loss(whole, mask, EVERYTHING).total.sum().div(8).backward()
    split, _ = batch(8)
    sums = []
    for part in (slice(0, 3), slice(3, 4), slice(4, 8)):
        total = loss(SegmenterOutput(split.logits[part], split.presence_logit[part]), mask[part], EVERYTHING).total
        sums.append(total.detach())
        total.sum().div(8).backward()
    torch.testing.assert_close(torch.cat(sums), loss(whole, mask, EVERYTHING).total, rtol=1e-6, atol=0)
    torch.testing.assert_close(split.logits.grad, whole.logits.grad, rtol=1e-6, atol=0)
    torch.testing.assert_close(split.presence_logit.grad, whole.presence_logit.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", [-80.0, -8.0, 0.0, 8.0, 80.0])
@pytest.mark.parametrize("full", [False, True])
def test_finite_in_every_precision_on_empty_and_full_masks(dtype, level, full):
    logits = torch.full((2, 1, 64, 64), level, dtype=dtype, requires_grad=True)
    head = torch.full((2,), level, dtype=dtype, requires_grad=True)
    parts = loss(SegmenterOutput(logits, head), torch.full((2, 1, 64, 64), float(full)), EVERYTHING)
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in parts)
    parts.total.sum().backward()
    assert logits.grad.isfinite().all()
    assert head.grad.isfinite().all()


@pytest.mark.parametrize("level", [-6.0, 0.0, 6.0])
@pytest.mark.parametrize("term", ["bce", "dice", "focal"])
def test_all_empty_batch_pushes_every_pixel_down(term, level):
    logits = torch.full((3, 1, 64, 64), level, requires_grad=True)
    config = LossConfig(**{"bce": 0.0, "dice": 0.0, "focal": 0.0, term: 1.0})
    loss(SegmenterOutput(logits, None), torch.zeros_like(logits), config).total.sum().backward()
    assert (logits.grad > 0).all()


def test_dice_loss_values_on_empty_and_missed_masks():
    size = 256
    s = SMOOTHING * size * size
    empty = torch.zeros(1, 1, size, size)
    missed = empty.clone()
    missed[..., 0, : int(s)] = 1
    silent = torch.full_like(empty, -50.0)
    assert dice_loss(silent, empty).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(silent, missed).item() == pytest.approx(0.5)
    assert dice_loss(-silent, empty).item() == pytest.approx(1, abs=1e-3)
    assert dice_loss(50 * (2 * missed - 1), missed).item() == pytest.approx(0, abs=1e-6)


def test_dice_loss_is_the_same_at_every_image_size():
    output, mask = batch(2, 32)
    double = [F.interpolate(x, scale_factor=2, mode="nearest") for x in (output.logits, mask)]
    torch.testing.assert_close(dice_loss(*double), dice_loss(output.logits, mask))


def test_dice_on_positive_leaves_empty_images_out():
    output, mask = batch()
    parts = loss(output, mask, LossConfig(dice_on="positive"))
    assert torch.equal(parts.dice > 0, mask.flatten(1).any(dim=1))
    everywhere = loss(output, mask, LossConfig())
    assert torch.equal(parts.dice[::2], everywhere.dice[::2])
    assert (everywhere.dice > 0).all()


def test_unweighted_head_still_takes_part_in_the_backward_pass():
    output, mask = batch()
    loss(output, mask, LossConfig()).total.sum().backward()
    assert output.presence_logit.grad is not None
    assert not output.presence_logit.grad.any()


def test_autocast_around_the_loss_changes_nothing():
    output, mask = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(output, mask, EVERYTHING)
    assert all(map(torch.equal, inside, loss(output, mask, EVERYTHING)))


def test_head_loss_without_head_is_refused():
    output, mask = batch()
    with pytest.raises(UserError, match=r"presence 0\.5 without an presence_head"):
        loss(SegmenterOutput(output.logits, None), mask, EVERYTHING)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bce": -1.0}, "--loss.bce -1.0; expected 0 to 1e.38"),
        ({"dice": math.nan}, "--loss.dice nan; expected a finite number"),
        ({"focal": math.inf}, "--loss.focal inf; expected a finite number"),
        ({"bce": 0.0, "dice": 0.0}, "all 0"),
        ({"focal_gamma": 0.5}, "--loss.focal-gamma 0.5; expected 1 to 16"),
        ({"dice_on": "some"}, "--loss.dice-on some; expected one of all, positive"),
    ],
)
def test_wrong_weights_of_terms_are_refused(config, message):
    with pytest.raises(UserError, match=message):
        LossConfig(**config)
