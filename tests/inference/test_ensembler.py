"""The ensemble against the plain mean of its members, whatever the blocks and the ranks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference import decision_rule
from pneumo.inference import ensembler as ensembler_module
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import EnsembleMember, Ensembler, order_rows, remove_small_components
from pneumo.inference.histograms import quantize
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan
from pneumo.masks import rle
from pneumo.modeling import models
from pneumo.modeling.models import ModelConfig, Segmenter
from pneumo.runtime.errors import UserError
from pneumo.training.finish import blend

RULE = DecisionRule(top_threshold=120, min_area=1.0, bottom_threshold=100, presence_threshold=0.0)
CONFIGS = (ModelConfig(encoder="mobilenet_v2"), ModelConfig(encoder="mobilenet_v2", presence_head=False))
SIZES = (64, 32)


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def networks() -> list[list[Segmenter]]:
    """Two folds of each of two configurations."""
    torch.manual_seed(0)
    return [[models.build(config).eval() for _ in range(2)] for config in CONFIGS]


@pytest.fixture(scope="module")
def members(networks: list[list[Segmenter]], tmp_path_factory: pytest.TempPathFactory) -> list[EnsembleMember]:
    folder = tmp_path_factory.mktemp("weights")
    result = []
    for r, (config, size, share) in enumerate(zip(CONFIGS, SIZES, (0.75, 0.25), strict=True)):
        paths = []
        for k, network in enumerate(networks[r]):
            paths.append(folder / f"{r}-{k}.safetensors")
            safetensors.torch.save_file(network.state_dict(), paths[-1])
        result.append(EnsembleMember(model=config, size=size, weight_files=tuple(paths), weight=share, tta=("hflip",)))
    return result


def make(members: Sequence[EnsembleMember], reader: ShardReader, world: World, **options: float) -> Ensembler:
    return Ensembler(members, RULE, reader=reader, world=world, workers=1, **options)


def by_hand(
    networks: list[list[Segmenter]], members: Sequence[EnsembleMember], reader: ShardReader, world: World, row: int
) -> tuple[np.ndarray, float]:
    """Average one image's maps in the plainest way."""
    table = reader.table
    total = torch.zeros(int(table.rows[row]), int(table.columns[row]))
    heads = []
    for member, folds in zip(members, networks, strict=True):
        plan = BatchPlan(
            rows=np.array([row]), positions=np.array([0]), epoch=0, size=member.size, seed=0, augmentation=None
        )
        loader = build_loader("opencv", reader, table, world.device, workers=1)
        (batch,) = loader([plan])
        for network in folds:
            predictor = Predictor(
                network, size=member.size, tta=member.tta, device=world.device, autocast=world.accelerator.autocast
            )
            pixels, head = predictor(batch.image)
            total += member.weight / len(folds) * to_source(pixels[0], *total.shape)
            heads.append(float(head[0]))
    return total.numpy(), float(np.nanmean(heads))


def test_it_is_the_mean_over_folds_runs_and_views(
    networks: list[list[Segmenter]], members: list[EnsembleMember], reader: ShardReader, world: World
) -> None:
    rows = reader.table.select("test")
    findings = make(members, reader, world).run(rows)
    assert [f.image_id for f in findings] == reader.table.image_id[rows].tolist()
    for finding, row in zip(findings, rows.tolist(), strict=True):
        total, head = by_hand(networks, members, reader, world, row)
        mask = decision_rule.apply_rule(quantize(total), RULE, head)
        mine = rle.decode(finding.rle, *mask.shape)
        # Sums in another order may move a pixel that lies on a threshold.
        assert np.mean(mask != mine) < 1e-3
        assert finding.presence_probability == pytest.approx(head, abs=1e-5)
        assert finding.mask_area == mine.sum()
    assert any(f.mask_area for f in findings), "the rule finds something, so that the comparison means something"


@pytest.mark.parametrize("ranks", [2, 3])
def test_blocks_and_ranks_do_not_change_a_finding(
    members: list[EnsembleMember], reader: ShardReader, world: World, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = reader.table.select()
    whole = make(members, reader, world).run(rows)
    monkeypatch.setattr(ensembler_module, "BLOCK", 1)
    # Each rank alone: what it would send to the leader.
    parts = {}
    for rank in range(ranks):
        one = make(members, reader, replace(world, rank=rank, size=ranks))
        chunks = ensembler_module.out_of_fold.chunks(rows)[rank::ranks]
        for chunk in chunks:
            parts |= one._block([chunk])
    assert [parts[row] for row in rows.tolist()] == whole


def test_weights_of_another_network_are_refused(
    members: list[EnsembleMember], reader: ShardReader, world: World
) -> None:
    wrong = replace(members[0], weight_files=members[1].weight_files, weight=1.0)
    with pytest.raises(UserError, match="the weights of a finished fold"):
        make([wrong], reader, world).run(reader.table.select("test"))


def test_damaged_weights_are_refused(
    members: list[EnsembleMember], reader: ShardReader, world: World, tmp_path: Path
) -> None:
    torn = tmp_path / "model.safetensors"
    torn.write_bytes(members[0].weight_files[0].read_bytes()[:5000])
    with pytest.raises(UserError, match=r"model\.safetensors: .*; expected the weights of a finished fold"):
        make([replace(members[0], weight_files=(torn,), weight=1.0)], reader, world).run(reader.table.select("test"))


def test_small_parts_are_dropped_by_their_area_in_reference_pixels() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[10:20, 10:20] = 1  # 100 px here, 400 of a 1024x1024 image
    mask[100:130, 100:130] = 1
    mask[130, 130] = 1  # touches the larger one at a corner
    assert remove_small_components(mask, 401).sum() == 901
    assert remove_small_components(mask, 400).sum() == 1001
    assert remove_small_components(np.zeros((4, 4), np.uint8), 1).sum() == 0
    assert remove_small_components(np.ones((4, 4), np.uint8), 1).sum() == 16


def test_the_expected_order_is_kept_and_gaps_are_told() -> None:
    told: list[str] = []
    rows = order_rows({"a": "1 2", "b": "-1", "x": "3 1"}, ["b", "c", "a"], told.append)
    assert rows == [("b", "-1"), ("c", "-1"), ("a", "1 2")]
    assert told == [
        "1 expected id(s) have no image and get an empty mask: c",
        "1 test image(s) are not expected and are left out of the submission",
    ]


def test_ids_of_another_stage_are_refused() -> None:
    with pytest.raises(UserError, match="none of the 2 expected ids is among the 1 test images"):
        order_rows({"a": "-1"}, ["p", "q"], print)


def test_rules_are_blended_by_the_shares() -> None:
    assert blend([RULE], [1.0]) == RULE
    mixed = blend([DecisionRule(200, 1000, 80, 0.5), DecisionRule(100, 2000, 100, 0.1)], [0.75, 0.25])
    assert (mixed.top_threshold, mixed.min_area, mixed.bottom_threshold) == (175, 1250, 85)
    assert mixed.presence_threshold == pytest.approx(0.4)
