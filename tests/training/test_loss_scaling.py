"""The update in every precision: clipping against its closed form, and steps that overflow fp16."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from pneumo.distributed.collectives import Group
from pneumo.runtime.errors import UserError
from pneumo.training.loss_scaling import MAX_SKIPPED_IN_A_ROW, LossScaling, clipped

FINITE = torch.tensor([1.0, 2.0])
RATE = 0.5


@dataclass(frozen=True, kw_only=True)
class WithPeer(Group):
    """A group whose other rank has a loss that is not finite."""

    def any_rank(self, flag: bool) -> bool:
        return True


def alone() -> Group:
    return Group(rank=0, size=1, device=torch.device("cpu"))


def parameters(*gradients: list[float]) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(len(values))) for values in gradients]
    for parameter, values in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor(values)
    return made


def update(
    scaling: LossScaling, trained: list[nn.Parameter], clip_norm: float, sums: Tensor = FINITE
) -> tuple[float, bool]:
    """Do a plain step of gradient descent, whose closed form is -rate * gradient."""
    norm, skipped = scaling.update(torch.optim.SGD(trained, lr=RATE), trained, sums, clip_norm)
    return float(norm), skipped


@pytest.mark.parametrize(
    ("clip_norm", "factor"),
    [
        pytest.param(0.0, 1.0, id="none"),
        pytest.param(20.0, 1.0, id="above the norm"),
        pytest.param(1.3, 0.1, id="below"),
    ],
)
def test_the_gradient_is_clipped_by_its_global_norm(clip_norm: float, factor: float) -> None:
    trained = parameters([3.0, 4.0], [12.0])
    norm, skipped = update(LossScaling(alone(), fp16=False), trained, clip_norm)
    assert (norm, skipped) == (13.0, False)
    expected = -RATE * factor * torch.tensor([3.0, 4.0, 12.0])
    torch.testing.assert_close(torch.cat([p.detach() for p in trained]), expected, rtol=1e-6, atol=0)


def test_without_fp16_nothing_is_scaled_or_skipped() -> None:
    scaling = LossScaling(alone(), fp16=False)
    assert float(scaling.scale(torch.tensor(3.0))) == 3.0
    norm, skipped = update(scaling, parameters([torch.inf]), 1.0, torch.tensor([torch.nan]))
    assert (norm, skipped) == (float("inf"), False)


def test_fp16_divides_the_scale_out_before_it_clips() -> None:
    scaling = LossScaling(alone(), fp16=True)
    trained = parameters([0.0, 0.0])
    scaling.scale((trained[0] * torch.tensor([3.0, 4.0])).sum()).backward()  # type: ignore[no-untyped-call]
    assert trained[0].grad is not None
    assert trained[0].grad.tolist() == [3.0 * 2**16, 4.0 * 2**16]
    assert update(scaling, trained, 1.0) == (5.0, False)
    torch.testing.assert_close(trained[0].detach(), -RATE * torch.tensor([0.6, 0.8]), rtol=1e-5, atol=0)


def scaled(scaling: LossScaling, gradient: float) -> list[nn.Parameter]:
    trained = parameters([0.0])
    scaling.scale(trained[0].sum() * gradient).backward()  # type: ignore[no-untyped-call]
    return trained


@pytest.mark.parametrize(
    ("group", "gradient", "sums"),
    [
        pytest.param(alone(), torch.inf, FINITE, id="gradient"),
        pytest.param(alone(), torch.nan, FINITE, id="nan gradient"),
        pytest.param(alone(), 1.0, torch.tensor([torch.nan]), id="loss alone"),
        pytest.param(WithPeer(rank=0, size=2, device=torch.device("cpu")), 1.0, FINITE, id="loss of another rank"),
    ],
)
def test_an_overflow_of_fp16_skips_the_step_and_halves_the_scale(group: Group, gradient: float, sums: Tensor) -> None:
    scaling = LossScaling(group, fp16=True)
    trained = scaled(scaling, gradient)
    _, skipped = update(scaling, trained, 1.0, sums)
    assert skipped
    assert trained[0].tolist() == [0.0]
    assert scaling.scaler.get_scale() == 2**15


def test_too_many_overflows_in_a_row_are_an_error_and_a_good_step_between_starts_the_count_again() -> None:
    scaling = LossScaling(alone(), fp16=True)
    for gradient in [*[torch.inf] * (MAX_SKIPPED_IN_A_ROW - 1), 1.0, *[torch.inf] * (MAX_SKIPPED_IN_A_ROW - 1)]:
        update(scaling, scaled(scaling, gradient), 0.0)
    with pytest.raises(UserError, match=r"^20 steps in a row overflowed fp16 .*--precision bf16 or fp32"):
        update(scaling, scaled(scaling, torch.inf), 0.0)


def test_the_first_steps_of_a_run_are_as_many_in_a_row_as_later_ones() -> None:
    scaling = LossScaling(alone(), fp16=True)
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        update(scaling, scaled(scaling, torch.inf), 0.0)
    with pytest.raises(UserError, match=r"^20 steps in a row overflowed fp16"):
        update(scaling, scaled(scaling, torch.inf), 0.0)


@pytest.mark.parametrize("clip_norm", [0.0, 4.9, 5.0, 5.0 + 1e-6, 5.1, 1e6])
@pytest.mark.parametrize("last", [4.0, torch.inf, torch.nan])
def test_clipping_is_torch_s_to_the_last_bit(clip_norm: float, last: float) -> None:
    ours, theirs = parameters([3.0, 0.0], [last]), parameters([3.0, 0.0], [last])
    expected = torch.nn.utils.clip_grad_norm_(theirs, clip_norm or torch.inf)
    with clipped(torch.optim.SGD(ours), ours, expected, clip_norm):
        if clip_norm or expected.isfinite():
            for mine, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=0, equal_nan=True)


def adamw(trained: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(trained, lr=RATE, betas=(0.5, 0.5), fused=True)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize(("clip_norm", "factor"), [(0.0, 1.0), (20.0, 1.0), (1.3, 0.1)])
def test_a_fused_optimizer_sees_clipped_gradients(fp16: bool, clip_norm: float, factor: float) -> None:
    """Its first moment is then half of them; the next step has no clipping left over."""
    scaling, trained = LossScaling(alone(), fp16=fp16), parameters([3.0, 4.0], [12.0])
    optimizer = adamw(trained)
    for limit, expected in ((clip_norm, factor / 2), (0.0, factor / 4 + 0.5)):
        for parameter, values in zip(trained, ([3.0, 4.0], [12.0]), strict=True):
            parameter.grad = scaling.scale(torch.tensor(values))
        norm, skipped = scaling.update(optimizer, trained, FINITE, limit)
        assert (float(norm), skipped) == (13.0, False)
        moments = torch.cat([optimizer.state[parameter]["exp_avg"] for parameter in trained])
        torch.testing.assert_close(moments, expected * torch.tensor([3.0, 4.0, 12.0]), rtol=1e-6, atol=0)
    assert not hasattr(optimizer, "grad_scale")


def test_a_fused_optimizer_is_given_the_factor_and_its_gradients_are_left_as_they_are() -> None:
    trained = parameters([3.0, 4.0])
    optimizer = adamw(trained)
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in trained])
    with clipped(optimizer, trained, norm, 1.0):
        assert float(optimizer.grad_scale) == pytest.approx(5.0, rel=1e-6)
        assert torch.cat([parameter.grad for parameter in trained]).tolist() == [3.0, 4.0]


@pytest.mark.parametrize("clip_norm", [5.0 + 1e-5, 1e6])
def test_a_fused_step_below_the_limit_is_that_without_one(clip_norm: float) -> None:
    ours, theirs = parameters([0.3, 4.9]), parameters([0.3, 4.9])
    for trained, limit in ((ours, clip_norm), (theirs, 0.0)):
        LossScaling(alone(), fp16=False).update(adamw(trained), trained, FINITE, limit)
    assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_fused_step_of_a_gradient_that_is_not_finite_is_seen_in_the_weights(value: float) -> None:
    trained = parameters([3.0, value])
    LossScaling(alone(), fp16=False).update(adamw(trained), trained, FINITE, 1.0)
    assert not trained[0].isfinite().all()
