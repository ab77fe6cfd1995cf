"""Draws: purity, independence of the augmentations, probabilities, and what is drawn when nothing is asked for."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field, replace

import numpy as np
import pytest
from augmentation_draws import NAMES, only, parameters, same, spans, with_probability

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import DistortionTransform
from pneumo.loading.augmentation.intensity import IntensityTransform
from pneumo.loading.augmentation.parameters import STREAM, _generator, identity
from pneumo.loading.augmentation.registry import RNG_SCHEME, Augmentation
from pneumo.runtime.config import config_dataclass


def all_on(**probabilities: float) -> Augmentation:
    augmentation = Augmentation()
    for name in NAMES:
        augmentation = with_probability(augmentation, name, probabilities.get(name, 1.0))
    return augmentation


def test_parameters_are_a_pure_function_of_seed_epoch_and_position():
    config = all_on()
    assert same(parameters(config, 5), parameters(config, 5))
    for change in ({"seed": 8}, {"epoch": 4}, {"position": 6}):
        assert not np.array_equal(parameters(config, **change).matrix, parameters(config).matrix)


def test_a_crop_reaches_every_place_of_the_image_and_changes_no_other_draw():
    plain = identity(1024, 1024, 256).matrix
    corners = []
    for position in range(400):
        crop = parameters(only(), position, crop_size=192).matrix
        corners.append(np.linalg.solve(plain[:, :2], crop[:, 2] - plain[:, 2]))
        assert np.allclose(crop[:, :2], plain[:, :2])
        full, part = parameters(all_on(), position), parameters(all_on(), position, crop_size=192)
        assert full.pixel_transforms == part.pixel_transforms
        assert np.allclose(
            part.matrix, full.matrix + full.matrix @ [[0, 0, corners[-1][0]], [0, 0, corners[-1][1]], [0, 0, 0]]
        )
    places = np.round(np.array(corners), 6)
    assert np.array_equal(places, np.round(places))
    assert spans(places[:, 0], 0, 64)
    assert spans(places[:, 1], 0, 64)
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.2
    assert same(parameters(only(), 3, crop_size=256), parameters(only(), 3))


@pytest.mark.parametrize("name", NAMES)
def test_one_probability_does_not_change_the_other_draws(name):
    """With one entry off, what is drawn is what all entries draw, less that entry's own transform."""
    config = all_on()
    without = with_probability(config, name, 0.0)
    assert name not in dict(without.active())
    for position in range(50):
        full, rest = parameters(config, position), parameters(without, position)
        kept = [t for t in full.pixel_transforms if t in rest.pixel_transforms]
        assert list(rest.pixel_transforms) == kept
        own = only(**{name: getattr(config, name)})
        geometric = not parameters(own, position).pixel_transforms
        assert len(full.pixel_transforms) - len(kept) == (0 if geometric else 1)
        assert np.array_equal(full.matrix, rest.matrix) == (not geometric)


def test_an_added_augmentation_does_not_change_the_draws_of_the_others():
    """A registry with one entry more draws the same, and what the new entry draws on its own."""

    @config_dataclass(flag_prefix="augmentation.")
    class Extended(Augmentation):
        zoom: Affine = field(default_factory=lambda: Affine(probability=1.0))

    full = all_on()
    extended = Extended(**{name: getattr(full, name) for name in NAMES})
    alone = only(zoom=Affine(probability=1.0), registry=Extended)
    plain = identity(256, 256, 256).matrix
    for position in range(50):
        before, after = (parameters(entries, position, rows=256, columns=256) for entries in (full, extended))
        assert before.pixel_transforms == after.pixel_transforms
        added = parameters(alone, position, rows=256, columns=256).matrix
        assert not np.array_equal(added, plain)
        np.testing.assert_allclose(after.matrix, before.matrix @ np.vstack([added, [0, 0, 1]]), atol=1e-9)


def test_entries_draw_from_different_numbers():
    """The same configuration under two names draws two different transforms."""

    @config_dataclass(flag_prefix="augmentation.")
    class Extended(Augmentation):
        zoom: Affine = field(default_factory=lambda: Affine(probability=0.0))

    affine = Affine(probability=1.0)
    first, second = only(affine=affine, registry=Extended), only(zoom=affine, registry=Extended)
    assert not any(np.array_equal(parameters(first, p).matrix, parameters(second, p).matrix) for p in range(50))


def test_a_resumed_run_draws_what_earlier_versions_drew():
    """Values written down once. Where they change on purpose, RNG_SCHEME is raised, and runs are not resumed."""
    assert RNG_SCHEME == 2
    entries = ("flip", "affine", "intensity", "distortion")
    drawn = parameters(only(**{name: getattr(all_on(), name) for name in entries}), 5)
    matrix = [[-3.782307101183659, -0.596473666048208, 1067.111693429994]]
    matrix += [[-0.596473666048208, 3.782307101183659, 136.37111594258732]]
    np.testing.assert_allclose(drawn.matrix, matrix, rtol=1e-12)
    brighter, distorted = drawn.pixel_transforms
    assert brighter == IntensityTransform(brightness=pytest.approx(0.14298798001170893, rel=1e-12))
    assert distorted == DistortionTransform(kind="optical", seed=2103882258)


def test_the_thread_s_generator_draws_what_a_new_one_would():
    """Whatever was drawn before: also half of a 64-bit number, which ``integers`` may leave."""
    for position in range(20):
        for name, epoch, seed in (("flip", 0, 0), ("affine", 3, 2**32 - 1), ("intensity", 10**6, 7)):
            word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            fresh = np.random.Generator(np.random.Philox(key=[seed, STREAM], counter=[0, position, epoch, word]))
            moved = _generator(name, seed, epoch, position)
            assert moved.integers(3) == fresh.integers(3)
            assert moved.uniform(-1, 1, position).tolist() == fresh.uniform(-1, 1, position).tolist()
            assert moved.integers(3) == fresh.integers(3)


def test_threads_do_not_disturb_each_other_s_draws():
    expected = [parameters(all_on(), position) for position in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda position: parameters(all_on(), position), range(200)))
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_draws_of_another_scheme_are_not_made():
    with pytest.raises(AssertionError, match="another scheme"):
        parameters(replace(Augmentation(), rng_scheme=1))


@pytest.mark.parametrize("name", NAMES)
def test_probability_is_kept(name):
    config = all_on(**{name: 0.3})
    off, on = (with_probability(config, name, probability) for probability in (0.0, 1.0))
    applied = []
    for position in range(2000):
        drawn = parameters(config, position)
        assert same(drawn, parameters(off, position)) != same(drawn, parameters(on, position))
        applied.append(same(drawn, parameters(on, position)))
    assert np.mean(applied) == pytest.approx(0.3, abs=0.03)


def test_nothing_asked_for_is_exactly_the_letterbox():
    assert same(parameters(only(), rows=500, columns=333), identity(500, 333, 256))


def test_identity_at_the_source_size_is_the_exact_unit_matrix():
    assert np.array_equal(identity(256, 256, 256).matrix, [[1, 0, 0], [0, 1, 0]])
