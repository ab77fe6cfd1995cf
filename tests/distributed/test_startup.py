"""Start of the process groups: what a launcher must have set."""

import pytest
from rank_programs import Ended

from pneumo.distributed.startup import disable_unsupported_links, init
from pneumo.runtime import cli
from pneumo.runtime.errors import UserError


def test_a_world_of_another_size_is_refused(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["one of two"]
    assert codes == [2]
    assert "a world of 1 rank; expected 2; start with `accelerate launch --multi_gpu" in output
    assert "Traceback" not in output


def test_incomplete_variables_of_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT is not set"):
        init()
    # Else the next command of this process, the suite, would end it at once.
    assert not cli._skip_teardown


@pytest.mark.parametrize(
    ("gpus", "driver", "set_by_the_user", "expected"),
    [
        (["NVIDIA GeForce RTX 4090"] * 2, "535.183.01", {}, {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}),
        (
            ["NVIDIA GeForce RTX 4090"] * 2, "535.183.01", {"NCCL_P2P_DISABLE": "0"},
            {"NCCL_P2P_DISABLE": "0", "NCCL_IB_DISABLE": "1"},
        ),
        (["NVIDIA GeForce RTX 4090"] * 2, "550.54.14", {}, {}),
        (["NVIDIA GeForce RTX 4090"], "535.183.01", {}, {}),
        (["NVIDIA H100 80GB HBM3"] * 2, "535.183.01", {}, {}),
    ],
)  # fmt: skip
def test_links_that_the_gpus_do_not_support_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
    gpus: list[str],
    driver: str,
    set_by_the_user: dict[str, str],
    expected: dict[str, str],
) -> None:
    monkeypatch.setattr("accelerate.utils.environment.get_gpu_info", lambda: (gpus, len(gpus)))
    monkeypatch.setattr("accelerate.utils.environment.get_driver_version", lambda: driver)
    environ = dict(set_by_the_user)
    disable_unsupported_links(environ)
    assert environ == expected
