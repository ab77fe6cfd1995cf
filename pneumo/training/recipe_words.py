"""A recipe in plain words, for those who read what a network is and not how it is configured."""

from collections.abc import Iterator

from pneumo.modeling.losses.registry import TERMS
from pneumo.runtime.errors import counted
from pneumo.training.recipe import Recipe, Stage

ARCHITECTURES = {"unet": "U-Net", "unetplusplus": "U-Net++"}
ENCODER_WEIGHTS = {"none": "random weights", "imagenet": "ImageNet weights", "packaged": "ImageNet weights"}
OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "radam": "RAdam"}
PRECISIONS = {"fp32": "32-bit", "bf16": "bfloat16", "fp16": "16-bit", "auto": "the device's fastest"}


def describe_recipe(recipe: Recipe) -> list[str]:
    """Return what is trained and how, a sentence for each part."""
    return [*_network(recipe), *_stages(recipe), *_images(recipe), *_steps(recipe), *_inference(recipe)]


def _network(recipe: Recipe) -> Iterator[str]:
    model = recipe.model
    weights = ENCODER_WEIGHTS.get(model.encoder_weights, "weights from a local file")
    attention = " with scSE attention in the decoder" if model.attention == "scse" else ""
    yield (
        f"The network is a {ARCHITECTURES[model.architecture]} over the encoder {model.encoder}, which starts from"
        f" {weights}{attention}."
    )
    if recipe.freeze_encoder_norm:
        yield "The encoder's batch normalization stays as its first weights have it."
    if model.presence_head:
        yield "A second output, the presence head, predicts whether the image has a pneumothorax at all."


def _stages(recipe: Recipe) -> Iterator[str]:
    stages = recipe.stages
    for stage in stages:
        name = f"Stage {stage.index + 1} of {len(stages)}" if len(stages) > 1 else "Training"
        most = "at most " if recipe.patience else ""
        yield (
            f"{name} takes {most}{counted(stage.epochs, 'epoch')} at {stage.image_size} x {stage.image_size} px"
            f"{_crop(stage)}, learning rate {stage.learning_rate:g}, {_positives(stage)}."
        )
    if recipe.patience:
        yield f"A stage ends early after {counted(recipe.patience, 'validation')} without a better score."
    kept = "with the best validation score" if recipe.keep == "best" else "of its last step"
    yield f"{'Each stage' if len(stages) > 1 else 'Training'} ends with the weights {kept}."


def _crop(stage: Stage) -> str:
    size = stage.crop_size
    return "" if size is None else f" (in random parts of {size} x {size} px)"


def _positives(stage: Stage) -> str:
    if stage.positive_rate is None:
        return "each training image once in an epoch"
    first, last = (f"{rate:.0%}" for rate in stage.positive_rate)
    share = first if first == last else f"{first} in the first and {last} in the last epoch"
    return f"images drawn so that the positive ones are {share}"


def _images(recipe: Recipe) -> Iterator[str]:
    config = recipe.pseudo_labels
    if config.share:
        yield (
            f"At most {config.share:.0%} of the images of an epoch are unlabeled ones that another run has labeled,"
            f" positive from a presence probability of {config.positive:g} and negative up to"
            f" {config.negative:g}: for each fold its network that was not trained on the images of this fold."
        )
    if images := recipe.consistency.images:
        yield (
            f"Each step also has {images} unlabeled images, for which the network learns to predict what the moving"
            " average of its weights predicts for their mirror images (mean teacher), with weight"
            f" {recipe.consistency.weight:g} for the mask{_presence_weight(recipe)}{_ramp_up(recipe)}."
        )
    active = [f"{name} (probability {entry.probability:g})" for name, entry in recipe.augmentation.active()]
    yield f"Random changes to a training image: {', '.join(active) or 'none'}."


def _presence_weight(recipe: Recipe) -> str:
    weight = recipe.consistency.presence_weight
    return f" and {weight:g} for presence" if weight else ""


def _ramp_up(recipe: Recipe) -> str:
    epochs = recipe.consistency.ramp_up_epochs
    return f", reached after {epochs:g} epoch{'s' * (epochs != 1)}" if epochs else ""


def _labels(recipe: Recipe) -> Iterator[str]:
    if recipe.loss.bce and (pixels := recipe.loss.bce_border):
        square = f"{2 * pixels + 1} x {2 * pixels + 1} px"
        yield f"For bce the label of a pixel is the part of the mask in the square of {square} around it."


def _dice(recipe: Recipe) -> str:
    if not recipe.loss.dice:
        return ""
    over = ", Dice over each micro-batch" if recipe.loss.dice_over == "micro-batch" else ""
    if recipe.loss.dice_on == "positive":
        return f"{over} with a positive image" if over else ", Dice on positive images alone"
    return over


def _steps(recipe: Recipe) -> Iterator[str]:
    weights = {name: getattr(recipe.loss, name) for name in TERMS}
    terms = ", ".join(f"{weight:g} {name}" for name, weight in weights.items() if weight)
    yield f"The loss is the weighted sum {terms}{_dice(recipe)}."
    yield from _labels(recipe)
    epochs = recipe.warmup_epochs
    warmup = f" rises linearly ({epochs:g} epoch{'s' * (epochs != 1)}) and then" if epochs else ""
    yield (
        f"{OPTIMIZERS[recipe.optimizer]} takes steps of {recipe.batch_size} images, with weight decay"
        f" {recipe.weight_decay:g}. The learning rate{warmup} {_learning_rate(recipe)}."
    )
    if recipe.ema_decay:
        yield f"Validation and inference use a moving average of the weights (decay {recipe.ema_decay:g})."
    if recipe.swa_epochs:
        each = " of each stage" * (len(recipe.stages) > 1)
        yield (
            f"In the last {counted(recipe.swa_epochs, 'epoch')}{each} they use the mean of the weights that these"
            " epochs end with (stochastic weight averaging)."
        )


def _learning_rate(recipe: Recipe) -> str:
    """Return what the learning rate does after the warm-up, by stage where the schedules differ."""
    waves = (
        f" in {counted(recipe.cosine_epochs, 'epoch')}, then rises and falls in turn" if recipe.cosine_epochs else ""
    )
    validations = counted(recipe.plateau.patience + 1, "validation")
    how = {
        "cosine": f"falls along a cosine to {recipe.final_lr_factor:g} of its peak{waves}",
        "plateau": f"falls to {recipe.plateau.factor:g} of itself after each {validations} without a better score",
    }
    if recipe.final_lr_factor == 1:
        how["cosine"] = "is constant"
    kinds = [stage.schedule for stage in recipe.stages]
    if len(set(kinds)) == 1:
        return how[kinds[0]] + ", in each stage" * (len(kinds) > 1)
    return ", and ".join(
        f"{how[kind]} in stage {' and '.join(str(i + 1) for i, k in enumerate(kinds) if k == kind)}"
        for kind in dict.fromkeys(kinds)
    )


def _inference(recipe: Recipe) -> Iterator[str]:
    views = " and of its horizontal mirror image" if "hflip" in recipe.tta else ""
    if recipe.best_checkpoints > 1:
        yield f"A fold has {recipe.best_checkpoints} networks, those of the validations with the best scores."
    yield (
        f"A prediction is the mean over the folds' networks of the image{views}, at"
        f" {recipe.inference.size} x {recipe.inference.size} px, in {PRECISIONS[recipe.precision]} arithmetic."
    )
    if recipe.min_component:
        yield f"Components of a mask below {recipe.min_component:g} px (of 1024 x 1024) are removed."
    yield f"The seed is {recipe.seed}."
