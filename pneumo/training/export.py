"""Make an exported model of a finished run: weights, rule, metrics, model card, and the networks as ONNX."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from pneumo import __version__
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference import metrics, onnx_check, onnx_export, subgroups
from pneumo.inference.build import build_network
from pneumo.inference.decision_rule import DecisionRule, read_rule, write_rule
from pneumo.inference.metrics import Metrics
from pneumo.inference.onnx_export import MeanOfNetworks
from pneumo.inference.rule_choice import apply_recorded
from pneumo.inference.subgroups import Subgroup, Variable
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.reporting import model_card
from pneumo.reporting.model_card import CardFacts
from pneumo.runtime import locks
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import check_writable, publish_directory, remove_temporary_files, temporary_prefix
from pneumo.runtime.recorded import lock_path
from pneumo.training import exported_model, run_directory
from pneumo.training.excluded import exclusion_caveats
from pneumo.training.finished_run import require_finished_folds
from pneumo.training.fold_results import read_histograms, trained_weights
from pneumo.training.recipe_words import describe_recipe
from pneumo.training.run_directory import RunDirectory

LIBRARIES = ("torch", "segmentation-models-pytorch", "timm")
ONNX_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
"""Whose versions the model card names."""


def export_run(run: RunDirectory, out: Path, *, reader: ShardReader | None, onnx: bool) -> None:
    """Export a finished run into a new directory, which appears as a whole or not at all.

    Args:
        run: The run.
        out: The directory; one that exists must be empty.
        reader: The dataset that the run was trained on, for scores of subgroups, and as images on which ONNX Runtime
            is compared with torch; None = lesions by size are the only subgroups, and the images are made up.
        onnx: Whether to export the networks as ONNX too.

    Raises:
        UserError: When the run is not finished, the directory holds something, the dataset is another one, a file of
            the run is damaged, or the networks cannot be exported as ONNX.
    """
    # "." has no name beside which a hidden directory could be.
    out = out.resolve()
    require_results(run)
    require_new(out)
    if reader is not None:
        require_own(run, reader)
        reader = reader.exclude(run.dataset.excluded)
    rule, found = read_rule(run.thresholds), _own_metrics(run)
    with locks.hold(lock_path(out), f"--out {out}"):
        remove_temporary_files(out.parent, out.name)
        with publish_directory(out) as directory:
            weights = trained_weights(run)
            networks = _copy_weights(run, weights, directory)
            write_rule(directory / exported_model.RULE, rule)
            metrics.write(directory / exported_model.METRICS, found)
            compared = _write_onnx(run, networks, rule, directory, reader) if onnx else ""
            card = model_card.render(_card_facts(run, rule, found, reader, compared))
            (directory / exported_model.CARD).write_text(card, encoding="utf-8")
            exported_model.write_record(
                directory,
                recipe=exported_model.without_paths(run.recipe),
                dataset=run.dataset,
                encoder_sha256=run.encoder_sha256,
                trained_with=run_directory.starting_version(run),
                exported_with=__version__,
            )


def require_results(run: RunDirectory) -> None:
    """Refuse a run without all of its folds, its rule and its metrics.

    Raises:
        UserError: Naming what is missing.
    """
    require_finished_folds(run)
    for path in (run.metrics, run.thresholds):
        if not path.is_file():
            raise UserError(
                f"{path} does not exist",
                "a finished run",
                f"finish it with job/ensemble.py --runs {run.path} --dataset DATASET --out {run.submission}",
            )


def require_new(out: Path) -> None:
    """Refuse a directory that holds something, since an exported model is never written again, or cannot be made.

    Raises:
        UserError: Naming what is there.
    """
    try:
        out.with_name(f"{temporary_prefix(out.name)}{'x' * 8}").exists()  # its name is longer than that of --out
        check_writable(out.parent)
    except OSError as error:
        expected = "a directory that can be made"
        raise UserError(f"--out {out}: {error.strerror}", expected, "give another --out") from None
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    held = "already holds an exported model" if run_directory.is_exported(out) else "exists and is not empty"
    if not out.is_dir():
        held = "is no directory"
    raise UserError(f"--out {out} {held}", "a new directory", "give another --out, or move what is there")


def require_own(run: RunDirectory, reader: ShardReader) -> None:
    """Refuse a dataset that the run was not trained on.

    Raises:
        UserError: When its samples are others.
    """
    if Manifest.read(reader.dataset).samples_digest != run.dataset.digest:
        raise UserError(
            f"--dataset {reader.dataset} is not the one that {run.path} was trained on",
            "the dataset of the run",
            "correct --dataset, or leave it out",
        )


def _own_metrics(run: RunDirectory) -> Metrics:
    """Return the run's metrics, in which a version before this one may have named excluded images."""
    found = metrics.read(run.metrics)
    others = [caveat for caveat in found.caveats if not caveat.startswith("excluded, ")]
    return replace(found, caveats=[*exclusion_caveats(run.dataset.excluded), *others])


def _copy_weights(run: RunDirectory, weights: Sequence[TrainedWeights], directory: Path) -> MeanOfNetworks:
    """Write each fold's file of weights as training wrote it, and return the networks."""
    config = run.recipe.inference
    networks = []
    for fold, trained in enumerate(weights):
        network = build_network(config)
        trained.load(network, trained.read())
        networks.append(network)
        (directory / exported_model.weights_file(fold)).write_bytes(trained.path.read_bytes())
    return MeanOfNetworks(networks, config.tta, presence_head=config.model.presence_head)


def _write_onnx(
    run: RunDirectory, networks: MeanOfNetworks, rule: DecisionRule, directory: Path, reader: ShardReader | None
) -> str:
    """Write model.onnx and compare it with torch; return what it was compared on."""
    size, path = run.recipe.inference.size, directory / exported_model.ONNX
    log.info("exporting %s to ONNX (minutes)", counted(len(networks.networks), "network"))
    about = {
        "use": "Not for clinical use. See model_card.md.",
        "decision_rule": json.dumps({"in_words": rule.describe()} | asdict(rule.in_probabilities())),
        "recipe": run.recipe.name,
        "pneumo": __version__,
    }
    onnx_export.export(networks, size, path, about)
    if reader is None:
        images = onnx_check.drawn_images(size)
        compared = f"on {counted(len(images), 'made-up image')}"
    else:
        images = onnx_check.dataset_images(reader, size)
        compared = f"on {counted(len(images), 'image')} of the dataset"
    difference = onnx_check.check(path, networks, images)
    log.info("ONNX Runtime and torch differ by at most %.2g in a probability, %s", difference, compared)
    return compared


def _card_facts(
    run: RunDirectory, rule: DecisionRule, found: Metrics, reader: ShardReader | None, compared: str
) -> CardFacts:
    return CardFacts(
        recipe_name=run.recipe.name,
        recipe=describe_recipe(run.recipe),
        size=run.recipe.inference.size,
        presence_head=run.recipe.model.presence_head,
        min_component=run.recipe.min_component,
        metrics=found,
        rule=rule,
        subgroups=_subgroups(run, found, reader),
        dataset_digest=run.dataset.digest,
        folds_digest=run.dataset.folds_digest,
        grouped_by=run.dataset.grouped_by,
        encoder_sha256=run.encoder_sha256,
        trained_with=run_directory.starting_version(run),
        exported_with=__version__,
        onnx=compared,
        libraries={name: version(name) for name in (*LIBRARIES, *(ONNX_LIBRARIES if compared else ()))},
    )


def _subgroups(run: RunDirectory, found: Metrics, reader: ShardReader | None) -> dict[str, list[Subgroup]]:
    histograms = read_histograms(run)
    nested = apply_recorded(histograms, found, run.metrics)
    variables: dict[str, Variable] = {"lesion": subgroups.lesion_area(histograms)}
    if reader is not None:
        variables |= subgroups.table_variables(reader.table, histograms.image_id.tolist())
    return {name: list(subgroups.score_subgroups(histograms, nested, each)) for name, each in variables.items()}
