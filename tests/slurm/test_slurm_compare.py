"""job/compare.py as the tasks of a job."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from slurm_cluster import ROOT, SMALL, Cluster

pytestmark = pytest.mark.slurm


def test_two_tasks_on_two_nodes_train_and_compare_variants(
    cluster: Cluster, dataset: Path, reference_run: Path, tmp_path: Path
) -> None:
    variants, out, log = tmp_path / "variants.txt", tmp_path / "out", tmp_path / "log"
    base = shlex.join(["--recipe", "debug", *SMALL, "--epochs"])
    variants.write_text(f"base: {base} 3\nshort: {base} 1\n")
    flags = ["--dataset", dataset, "--variants", variants, "--out", out, "--expect-world", 2]
    srun = shlex.join(["srun", "--wait=0", *map(str, [sys.executable, ROOT / "job" / "compare.py", *flags])])
    resources = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=2G"]
    job = cluster.run("sbatch", "--parsable", *resources, f"--output={log}", f"--wrap={srun}").strip()
    assert cluster.ended(job) == "COMPLETED 0:0", log.read_text()
    text = log.read_text()
    assert text.count("rank 0: fold 0; rank 1: fold 1") == 2
    # Each fold had one task, as in a run of one process.
    for fold in ("fold-0", "fold-1"):
        trained = out / "runs" / "base-seed-0" / fold / "model.safetensors"
        assert trained.read_bytes() == (reference_run / fold / "model.safetensors").read_bytes()
    found = json.loads((out / "comparison.json").read_text())
    first, second = found["variants"]
    metrics = json.loads((reference_run / "metrics.json").read_text())
    assert first["scores"]["dice"]["value"] == pytest.approx(metrics["nested"]["dice"], abs=1e-12)
    assert (second["name"], found["unfinished"], found["hardware"][:11]) == ("short", [], "2 processes")
    assert second["scores"]["dice"]["difference"] is not None
    assert not list(out.rglob(".*lock"))
