from dataclasses import replace

from pneumo.training.recipes import best, debug
from pneumo.training.shared_training import WITHOUT_EFFECT, has_same_training


def test_recipes_of_the_same_training_differ_in_what_predicts_alone() -> None:
    recipe = debug()
    for changed in (replace(recipe, tta=()), replace(recipe, min_component=9.0), replace(recipe, name="other")):
        assert changed != recipe
        assert has_same_training(recipe, changed)
        assert has_same_training(changed, recipe)
    for changed in (replace(recipe, seed=1), replace(recipe, epochs=(2,)), replace(recipe, precision="bf16"), best()):
        assert not has_same_training(recipe, changed)
    # What is added here must have no part in training: test_job_compare.py has runs of both kinds side by side.
    assert WITHOUT_EFFECT == ("name", "tta", "min_component")
