"""Named recipes: each a function that returns the whole recipe, to read and to copy."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.losses.registry import LossConfig
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.recipe import Recipe


def debug() -> Recipe:
    """Seconds on a CPU: every part of training runs, nothing is learned."""
    return Recipe(
        name="debug",
        model=ModelConfig(encoder="mobilenet_v2", encoder_weights="none"),
        loss=LossConfig(bce=1.0, dice=1.0, dice_on="positive", presence=0.1),
        epochs=(1,),
        image_size=(64,),
        positive_rate=(0.5,),
        batch_size=4,
        micro_batch_size=2,
        warmup_epochs=0.0,
        ema_decay=0.9,
    )


def demo() -> Recipe:
    """Minutes on two CPU cores from random weights: learns the synthetic chest X-rays of job/demo.py."""
    return Recipe(
        name="demo",
        model=ModelConfig(encoder="mobilenet_v2", encoder_weights="none"),
        loss=LossConfig(bce=3.0, dice=1.0, dice_on="positive", presence=0.2),
        augmentation=Augmentation(affine=Affine(rotate_deg=15.0)),
        epochs=(12,),
        image_size=(96,),
        learning_rate=(3e-3,),
        batch_size=8,
        micro_batch_size=8,
        warmup_epochs=1.0,
        ema_decay=0.98,
        validate_every=2,
    )


def laptop() -> Recipe:
    """Real chest X-rays on two to eight CPU cores without a GPU.

    A small encoder with ImageNet weights from a package, half the usual channels in the decoder, which takes most of
    the time there, images of 384 pixels, and as many negatives as positives in an epoch.
    """
    return Recipe(
        name="laptop",
        model=ModelConfig(encoder="mobilenet_v2", encoder_weights="packaged", decoder_channels=(128, 64, 32, 16, 16)),
        loss=LossConfig(bce=3.0, dice=1.0, dice_on="positive", presence=0.2),
        augmentation=Augmentation(affine=Affine(rotate_deg=30.0)),
        epochs=(16,),
        image_size=(384,),
        positive_rate=(0.5,),
        learning_rate=(6e-4,),
        batch_size=16,
        micro_batch_size=8,
        weight_decay=1e-3,
        ema_decay=0.99,
        validate_every=8,
    )


def seed() -> Recipe:
    """The bronze-medal notebook that this project started from: U-Net SE-ResNeXt50 at 512 pixels, RAdam, focal loss.

    Its loss was 10 focal - log Dice over batches of 4, of which 8 made a step; components of 3500 px or less were
    removed, and there was no test-time augmentation. It trained one fold of five: ``--folds 0``.
    """
    return Recipe(
        name="seed",
        model=ModelConfig(encoder="se_resnext50_32x4d", encoder_weights="imagenet", presence_head=False),
        loss=LossConfig(bce=0.0, dice=0.0, log_dice=1.0, focal=10.0),
        augmentation=Augmentation(affine=Affine(rotate_deg=10.0)),
        epochs=(40,),
        image_size=(512,),
        learning_rate=(5e-4,),
        batch_size=32,
        micro_batch_size=4,
        optimizer="radam",
        weight_decay=0.0,
        warmup_epochs=0.0,
        clip_norm=0.0,
        ema_decay=0.0,
        keep="best",
        tta=(),
        min_component=3501.0,
    )


def winner() -> Recipe:
    """The 1st place's SE-ResNeXt50 experiment: the recipe ``winner-se_resnext50``."""
    return _winner("winner", "se_resnext50_32x4d", bce=3.0, focal=4.0)


def winner_resnet34() -> Recipe:
    """The 1st place's AlbuNet, a ResNet34 U-Net: the best of its ResNet34s on validation."""
    return _winner("winner-resnet34", "resnet34", bce=3.0, focal=4.0)


def winner_resnet34_even() -> Recipe:
    """The 1st place's AlbuNet that was best on the public leaderboard: its loss weighs the terms evenly."""
    return _winner("winner-resnet34-even", "resnet34", bce=1.0, focal=1.0)


def winner_resnet50() -> Recipe:
    """The 1st place's ResNet50 U-Net, which alone was trained at 1024 pixels from the start."""
    recipe = _winner("winner-resnet50", "resnet50", bce=2.0, focal=2.0)
    return replace(
        recipe,
        epochs=(50,),
        image_size=(1024,),
        positive_rate=(0.8, 0.6, 0.4),
        learning_rate=(1e-4, 1e-5, 1e-5),
        schedule=("plateau", "cosine", "cosine"),
    )


def winner_se_resnext50() -> Recipe:
    """The 1st place's SE-ResNeXt50 U-Net with scSE."""
    return _winner("winner-se_resnext50", "se_resnext50_32x4d", bce=3.0, focal=4.0)


def _winner(name: str, encoder: str, *, bce: float, focal: float) -> Recipe:
    """Return one of the 1st place's experiments, as in its published configurations.

    512 pixels, then 1024; positive rates of .8, .6 and .4; Adam with clipping at .1 in batches of 2; a plateau of the
    score lowers the learning rate of 1e-4, that of 1e-5 falls and rises along a cosine of 8 epochs; a stage ends after
    12 epochs without a better score (theirs: 10 to 12) and the next one begins with the best weights; the predictions
    of the three best checkpoints of each fold are averaged, and components of 100 px or less are removed. Dice is that
    of the two images of a batch together; of two empty masks, which there have a loss of 1 whatever is predicted, it
    has none here. Theirs added 1e-5 pixels to it where ours adds 128 of 1024x1024, first trained a while with the
    encoder frozen at 1024 pixels, and had stages with other folds when more images came.
    """
    attention: Literal["none", "scse"] = "scse" if encoder.startswith("se_") else "none"
    return Recipe(
        name=name,
        model=ModelConfig(encoder=encoder, encoder_weights="imagenet", attention=attention, presence_head=False),
        loss=LossConfig(bce=bce, dice=1.0, focal=focal, dice_on="positive", dice_over="micro-batch"),
        augmentation=Augmentation(distortion=Distortion(probability=0.3)),
        epochs=(50,),
        image_size=(512, 1024, 1024, 1024),
        positive_rate=(0.8, 0.8, 0.6, 0.4),
        learning_rate=(1e-4, 1e-4, 1e-5, 1e-5),
        schedule=("plateau", "plateau", "cosine", "cosine"),
        batch_size=2,
        micro_batch_size=2,
        optimizer="adam",
        weight_decay=5e-6,
        warmup_epochs=0.0,
        final_lr_factor=0.01,
        cosine_epochs=8,
        clip_norm=0.1,
        ema_decay=0.0,
        patience=12,
        keep="best",
        best_checkpoints=3,
        min_component=101.0,
    )


def fourth() -> Recipe:
    """The 4th place's network: ResNet34 U-Net with a presence head, trained on crops of 512 pixels of images of 768.

    As in its published configuration: the encoder's batch normalization is frozen, the loss is 2.7 BCE + .9 Dice + .1
    of the head's, the positive rate falls from .8 to the data's .22, the learning rate falls and rises along a cosine,
    and four checkpoints of each fold are averaged. It had 8 folds: ``job/shard.py --num-folds 8``. Dice is that of
    the batch, as in ``winner``. Its decoder had no normalization, and the head's target was the whole image's; here
    it is that of the crop.
    """
    return Recipe(
        name="fourth",
        model=ModelConfig(encoder="resnet34", encoder_weights="imagenet", presence_head=True, presence_input="encoder"),
        loss=LossConfig(bce=2.7, dice=0.9, presence=0.1, dice_on="positive", dice_over="micro-batch"),
        augmentation=Augmentation(
            affine=Affine(translate=0.2, scale=0.2, rotate_deg=20.0), distortion=Distortion(probability=0.3)
        ),
        epochs=(60,),
        image_size=(768,),
        crop_size=(512,),
        positive_rate=(0.8,),
        final_positive_rate=(0.22,),
        learning_rate=(7.5e-5,),
        batch_size=8,
        micro_batch_size=8,
        freeze_encoder_norm=True,
        optimizer="adam",
        weight_decay=1e-5,
        warmup_epochs=0.0,
        final_lr_factor=1 / 75,
        cosine_epochs=8,
        clip_norm=0.0,
        ema_decay=0.0,
        keep="best",
        best_checkpoints=4,
    )


def fifth() -> Recipe:
    """The 5th place's network: SE-ResNeXt50 at 1024 pixels, and a mean teacher on unlabeled images, which were NIH's.

    As in its published code: 4 unlabeled images in a step beside 16 labeled ones, half of these positive; 1024 BCE of
    the pixels and 1 of the head's, no Dice, clipped at a norm of 10; Adam at a constant 3e-4; a consistency of 2 MSE
    of the pixels and .002 of the head's; rotations to 25 degrees and scales of .85 to 1.15. An epoch was as long as
    the training set, which is about 2.5 of ours: its networks were chosen by the validation score after 40 to 55
    epochs, and the consistency rose over 30. It had 6 folds: ``job/shard.py --num-folds 6``.

    Its teacher saw the same image in other brightness, here it sees the mirror image; the decay of the moving average
    rose in steps from .5 to .999, and the network itself predicted; its decoder was fed by an ASPP and read at all its
    levels, its stem was new and had one input channel, and small squares of an image were erased.
    """
    return Recipe(
        name="fifth",
        model=ModelConfig(
            encoder="se_resnext50_32x4d",
            encoder_weights="imagenet",
            decoder_channels=(64, 64, 64, 64, 32),
            presence_head=True,
            presence_input="encoder",
        ),
        loss=LossConfig(bce=1024.0, dice=0.0, presence=1.0),
        augmentation=Augmentation(
            affine=Affine(probability=1.0, translate=0.04, scale=0.15, rotate_deg=25.0),
            intensity=Intensity(probability=0.5, contrast=0.05, gamma=0.05, brightness=0.05),
        ),
        consistency=ConsistencyConfig(images=4, weight=2.0, presence_weight=0.002, ramp_up_epochs=75.0),
        epochs=(120,),
        image_size=(1024,),
        positive_rate=(0.5,),
        learning_rate=(3e-4,),
        batch_size=16,
        micro_batch_size=4,
        optimizer="adam",
        weight_decay=1e-4,
        warmup_epochs=0.0,
        final_lr_factor=1.0,
        clip_norm=10.0,
        ema_decay=0.999,
        validate_every=2,
        keep="best",
    )


def best() -> Recipe:
    """Ours: the winner's sampling, what other top places showed to matter, and no choice made on validation images.

    A presence head, since most of the score is lost by confusing empty and non-empty masks; Dice on positive images
    alone, which leaves empty masks to BCE and the presence head; a positive rate that falls from .8 to the data's .22
    (4th place), so that the last epochs have the test set's proportions; AdamW, EMA, bf16; 512 pixels, then 1024.
    """
    return Recipe(
        name="best",
        model=ModelConfig(
            encoder="se_resnext50_32x4d", encoder_weights="imagenet", attention="scse", presence_head=True
        ),
        loss=LossConfig(bce=3.0, dice=1.0, dice_on="positive", presence=0.2),
        augmentation=Augmentation(affine=Affine(rotate_deg=30.0)),
        epochs=(40, 12),
        image_size=(512, 1024),
        positive_rate=(0.8, 0.4),
        final_positive_rate=(0.3, 0.22),
        learning_rate=(4e-4, 1e-4),
        batch_size=16,
        micro_batch_size=4,
        weight_decay=1e-3,
        ema_decay=0.999,
    )


_FUNCTIONS = (
    *(debug, demo, laptop, seed),
    *(winner, winner_resnet34, winner_resnet34_even, winner_resnet50, winner_se_resnext50),
    *(fourth, fifth, best),
)
RECIPES: dict[str, Callable[[], Recipe]] = {function().name: function for function in _FUNCTIONS}
"""Every named recipe, for ``--recipe``."""
