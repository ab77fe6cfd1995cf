import pytest

from pneumo.runtime.errors import UserError
from pneumo.training.recipe_flags import named_recipe
from pneumo.training.recipes import best, demo


@pytest.mark.parametrize("words", [["--recipe", "demo"], ["--recipe=demo"], ["--epochs", "2", "--recipe", "demo"]])
def test_the_recipe_is_the_named_one_without_the_changes(words: list[str]) -> None:
    assert named_recipe(words) == demo()


def test_without_a_name_it_is_the_default() -> None:
    # A missing value is left to the full parser.
    assert named_recipe([]) == named_recipe(["--recipe"]) == named_recipe(["--rec", "demo"]) == best()


def test_another_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"--recipe Demo; expected one of debug, demo, "):
        named_recipe(["--recipe", "Demo"])
