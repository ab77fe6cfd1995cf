"""Weights from the hub through job/train.py: fetched for a first step, and never again."""

import json
import signal
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
from job_commands import FIRST, INTERRUPTION, JOB, RECIPE, interrupted, run, warm
from safetensors.torch import save_file

STAND_IN = f"""
import os, runpy
import segmentation_models_pytorch as smp
def hf_hub_download(repo, filename, revision):
    with open(os.path.join(os.environ["HUB"], "asked"), "a") as file:
        file.write(filename + "\\n")
    if os.path.exists(os.path.join(os.environ["HUB"], "away")):
        raise ConnectionError("no route to the hub")
    return os.path.join(os.environ["HUB"], filename)
smp.encoders.hf_hub_download = hf_hub_download
if "INTERRUPT_AT" in os.environ:
    runpy.run_path({str(INTERRUPTION / "sitecustomize.py")!r})
"""


@pytest.mark.slow
def test_a_resume_does_not_ask_the_hub_and_a_first_step_without_it_is_worth_another_start(
    dataset: Path, tmp_path: Path
) -> None:
    hub, directory = tmp_path / "hub", tmp_path / "run"
    hub.mkdir()
    save_file(smp.encoders.get_encoder("mobilenet_v2", weights=None).state_dict(), hub / "model.safetensors")
    settings = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_range": [0, 1]}
    (hub / "config.json").write_text(json.dumps(settings))
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    words = [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, "--epochs", 1]
    words += ["--model.encoder", "mobilenet_v2", "--model.encoder-weights", "imagenet"]
    stand_in = ["env", f"PYTHONPATH={tmp_path}:{JOB.parent}", f"HUB={hub}", *warm()]
    killed = interrupted(tmp_path / "at", FIRST.format(0), signal.SIGKILL, launcher=stand_in)
    code, output = run([*words, "--folds", 0], launcher=killed)
    assert code == -signal.SIGKILL, output
    assert {*(hub / "asked").read_text().split()} == {"config.json", "model.safetensors"}
    (hub / "asked").unlink()
    (hub / "away").touch()
    code, output = run([*words, "--folds", 0], launcher=stand_in)
    assert code == 0, output
    assert "fold 0 resumes from step-" in output
    assert not (hub / "asked").exists()
    code, output = run([*words, "--folds", 1], launcher=stand_in)
    assert code == 3, output
    assert "the weights of mobilenet_v2 cannot be downloaded (ConnectionError: no route to the hub)" in output
    assert output.endswith("start the same command again later\n")
    assert "Traceback" not in output
    (hub / "away").unlink()
    code, output = run([*words, "--folds", 1], launcher=stand_in)
    assert code == 0, output
