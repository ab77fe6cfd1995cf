"""The rule of the mean is found on unseen images, on any number of ranks, from plain predictions of each network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plain_histograms import quantize

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed.world import World
from pneumo.inference import network_mean, rule_transfer, submission_rule
from pneumo.inference import prediction as prediction_module
from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.metrics import SubmissionRule
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.inference.rule_transfer import UnlabeledPredictions, transfer
from pneumo.inference.submission_rule import find_submission_rule, unseen_images

BATCH_SIZE = 2


@pytest.fixture
def rows(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Rows of both splits, in several batches: the networks are random, and have seen none of them."""
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", BATCH_SIZE)
    return some_rows(reader)


def some_rows(reader: ShardReader) -> Rows:
    return np.arange(0, len(reader.table), 4)


@pytest.fixture(scope="module")
def shared(runs: list[EnsembledRun], reader: ShardReader, world: World) -> NetworkMean:
    return NetworkMean(runs, reader=reader, world=world, workers=1)


@pytest.fixture
def mean(shared: NetworkMean, monkeypatch: pytest.MonkeyPatch) -> NetworkMean:
    """The mean of random networks, which takes long to build; a test may change its world."""
    monkeypatch.setattr(shared, "world", shared.world)
    return shared


@pytest.fixture(scope="module")
def plain(shared: NetworkMean, reader: ShardReader) -> list[UnlabeledPredictions]:
    """What each fold's networks predict, and last their mean."""
    return [count_plainly(shared, some_rows(reader), fold) for fold in (0, 1, None)]


@pytest.fixture
def rule(plain: list[UnlabeledPredictions]) -> DecisionRule:
    """Thresholds that about three in four images reach by the first network."""
    top = int(np.quantile(np.count_nonzero(plain[0].predicted, axis=1) - 1, 0.25))
    return DecisionRule(top, 0.0, max(top - 10, 1))


def count_plainly(mean: NetworkMean, rows: Rows, fold: int | None) -> UnlabeledPredictions:
    counts, presence = [], []
    batches = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
    for batch in mean.predict(batches, fold):
        for i in range(len(batch.rows)):
            bins = quantize(batch.probability(i).numpy())
            counts.append([int((bins >= b).sum()) for b in range(256)])
            presence.append(float(batch.presence[i]))
    return UnlabeledPredictions(
        predicted=np.array(counts), masked=np.array(counts), presence_probability=np.array(presence, np.float32)
    )


def test_the_rule_is_moved_by_the_predictions_of_each_network(
    mean: NetworkMean, rows: Rows, rule: DecisionRule, plain: list[UnlabeledPredictions]
) -> None:
    *networks, of_all = plain
    found = find_submission_rule(rule, mean, rows)
    assert found is not None
    expected = transfer(rule, networks, of_all)
    assert expected is not None
    assert expected != rule
    counts = [each.count_positive(rule) for each in networks]
    assert found == SubmissionRule(
        rule=expected.in_probabilities(),
        images=len(rows),
        positive_share_of_networks=sum(counts) / 2 / len(rows),
        positive_share_before=of_all.count_positive(rule) / len(rows),
        positive_share=of_all.count_positive(expected) / len(rows),
        enough_positive=True,
    )


def test_ranks_and_blocks_do_not_change_the_rule(
    mean: NetworkMean, rows: Rows, rule: DecisionRule, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find_submission_rule(rule, mean, rows)
    assert whole is not None
    monkeypatch.setattr(network_mean, "BLOCK", 1)
    monkeypatch.setattr(submission_rule, "find_damaged", lambda *_, **__: {})
    for ranks in (2, 3):
        parts: list[Any] = []
        monkeypatch.setattr(World, "gather", lambda _, part, parts=parts: parts.append(part) or parts)
        monkeypatch.setattr(World, "on_leader", lambda self, action: action() if self.is_leader else None)
        # The leader last, when the others have sent their parts.
        for rank in reversed(range(ranks)):
            mean.world = replace(world, rank=rank, size=ranks)
            found = find_submission_rule(rule, mean, rows)
        assert found == whole
        assert min(len(part[0]) for part in parts) > 0
        assert sum(len(part[0]) for part in parts) == len(rows)


def test_damaged_images_are_left_out(
    mean: NetworkMean,
    rows: Rows,
    rule: DecisionRule,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged = int(rows[3])
    monkeypatch.setattr(submission_rule, "find_damaged", lambda *_, **__: {damaged: "its CRC differs"})
    found = find_submission_rule(rule, mean, rows)
    assert f"is found without 1 of {len(rows)} test images, damaged: job/verify.py names them" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", BATCH_SIZE)
    assert found == find_submission_rule(rule, mean, rows[rows != damaged])
    assert found is not None
    assert found.images == len(rows) - 1


def test_nothing_is_predicted_where_nothing_could_be_moved(
    mean: NetworkMean, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetworkMean, "_predict", lambda *_: pytest.fail("predicted"))
    rule = DecisionRule(128, 0.0, 64)
    with pytest.raises(pytest.fail.Exception, match="predicted"):
        find_submission_rule(rule, mean, rows)
    assert find_submission_rule(replace(rule, min_area=NEVER), mean, rows) is None
    assert find_submission_rule(rule, mean, rows[:0]) is None
    monkeypatch.setattr(mean, "runs", [replace(run, weights=run.weights[:1]) for run in mean.runs])
    assert find_submission_rule(rule, mean, rows) is None


def test_too_few_positive_images_leave_the_rule_as_it_is(
    mean: NetworkMean, rows: Rows, rule: DecisionRule, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = find_submission_rule(rule, mean, rows)
    monkeypatch.setattr(rule_transfer, "MIN_POSITIVE", len(rows) + 1)
    found = find_submission_rule(rule, mean, rows)
    assert found is not None
    assert moved is not None
    # The shares are said all the same.
    unmoved = replace(
        moved, rule=rule.in_probabilities(), positive_share=moved.positive_share_before, enough_positive=False
    )
    assert found == unmoved != moved


def test_of_damaged_images_alone_no_rule_is_found(
    mean: NetworkMean, rows: Rows, rule: DecisionRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission_rule, "find_damaged", lambda *_, **__: dict.fromkeys(rows.tolist(), "cut off"))
    assert find_submission_rule(rule, mean, rows) is None


def test_test_images_that_were_trained_on_and_those_above_the_limit_are_left_out(
    reader: ShardReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = reader.table
    test = np.flatnonzero(table.split == "test")
    assert len(test) == 6
    assert unseen_images(table).tolist() == test.tolist()
    seen = [str(table.image_id[test[2]]), str(table.image_id[0]), "another"]
    assert unseen_images(table, seen).tolist() == np.delete(test, 2).tolist()
    monkeypatch.setattr(submission_rule, "MAX_IMAGES", 3)
    some = unseen_images(table).tolist()
    assert len(set(some)) == 3
    assert some == sorted(some)
    assert set(some) < set(test.tolist())
    assert some == unseen_images(table).tolist()


def test_small_components_are_removed_before_images_are_counted(
    mean: NetworkMean, rows: Rows, rule: DecisionRule
) -> None:
    """Of components smaller than two images, nothing is left."""
    some, none = (find_submission_rule(rule, mean, rows, limit) for limit in (1.0, 2.0**21))
    assert some is not None
    assert some.positive_share_of_networks > 0
    assert none is not None
    assert (none.positive_share_of_networks, none.positive_share) == (0, 0)
    assert none.rule == rule.in_probabilities()
