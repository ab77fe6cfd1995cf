from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from pneumo.modeling.config import ModelConfig
from pneumo.training import recipe_words
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_words import describe_recipe
from pneumo.training.recipes import RECIPES, best, demo, fifth, winner


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_whole_sentences(name: str) -> None:
    sentences = describe_recipe(RECIPES[name]())
    assert all(sentence.endswith(".") and sentence[0].isupper() for sentence in sentences)
    assert not any("None" in sentence or "  " in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("words", "owner", "field"),
    [
        (recipe_words.ARCHITECTURES, ModelConfig, "architecture"),
        (recipe_words.OPTIMIZERS, Recipe, "optimizer"),
        (recipe_words.PRECISIONS, Recipe, "precision"),
    ],
)
def test_every_value_of_a_choice_has_its_words(words: dict[str, str], owner: type, field: str) -> None:
    values = get_args(get_type_hints(owner)[field])
    assert set(words) == set(values) != set()


def test_the_best_recipe_in_words() -> None:
    text = " ".join(describe_recipe(best()))
    assert "U-Net over the encoder se_resnext50_32x4d, which starts from ImageNet weights with scSE attention" in text
    assert "the presence head, predicts whether the image has a pneumothorax at all" in text
    assert "Stage 1 of 2 takes 40 epochs at 512 x 512 px, learning rate 0.0004, images drawn so that" in text
    assert "80% in the first and 30% in the last epoch" in text
    assert "weighted sum 3 bce, 1 dice, 0.2 presence, Dice on positive images alone" in text
    assert "mean over the folds' networks of the image and of its horizontal mirror image, at 1024 x 1024 px" in text


def test_one_stage_has_no_number_and_each_image_comes_once() -> None:
    text = " ".join(describe_recipe(demo()))
    assert "Training takes 12 epochs at 96 x 96 px, learning rate 0.003, each training image once in an epoch." in text
    assert "Stage" not in text
    assert "Training ends with the weights of its last step." in text


def test_early_stopping_and_the_choice_of_weights_are_said() -> None:
    text = " ".join(describe_recipe(winner()))
    assert "Stage 1 of 4 takes at most 50 epochs at 512 x 512 px" in text
    assert "ends early after 12 validations without a better score" in text
    assert "Each stage ends with the weights with the best validation score." in text


def test_the_winner_s_schedules_and_networks_are_said() -> None:
    text = " ".join(describe_recipe(winner()))
    assert (
        "falls to 0.1 of itself after each 3 validations without a better score in stage 1 and 2, and falls along a"
        " cosine to 0.01 of its peak in 8 epochs, then rises and falls in turn in stage 3 and 4." in text
    )
    assert "A fold has 3 networks, those of the validations with the best scores." in text
    assert "3 bce, 1 dice, 4 focal, Dice over each micro-batch with a positive image." in text
    assert "Components of a mask below 101 px (of 1024 x 1024) are removed." in text


def test_labels_of_another_run_are_said() -> None:
    taught = " ".join(describe_recipe(replace(best(), pseudo_labels=PseudoLabelConfig(share=0.2))))
    assert "At most 20% of the images of an epoch are unlabeled ones that another run has labeled" in taught
    assert "unlabeled" not in " ".join(describe_recipe(best()))


def test_softened_borders_are_said() -> None:
    softened = replace(best(), loss=replace(best().loss, bce_border=2))
    words = "For bce the label of a pixel is the part of the mask in the square of 5 x 5 px around it."
    assert words in describe_recipe(softened)
    assert not any("square" in sentence for sentence in describe_recipe(best()))


def test_the_mean_teacher_is_said() -> None:
    text = " ".join(describe_recipe(fifth()))
    assert "Each step also has 4 unlabeled images" in text
    assert "(mean teacher), with weight 2 for the mask and 0.002 for presence, reached after 75 epochs." in text
    assert "The learning rate is constant." in text
    assert "mean teacher" not in " ".join(describe_recipe(best()))


def test_a_path_of_weights_is_not_quoted() -> None:
    recipe = best()
    recipe = replace(recipe, model=replace(recipe.model, encoder_weights="/home/someone/w.pth"), tta=(), ema_decay=0.0)
    text = " ".join(describe_recipe(recipe))
    assert "someone" not in text
    assert "weights from a local file" in text
    assert "moving average" not in text
    assert "mirror" not in text
