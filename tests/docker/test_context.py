"""The build context: it has no dataset and no secret that is beside the sources."""

import shutil
from pathlib import Path

import pytest
from engine import Engine

ROOT = Path(__file__).resolve().parents[2]
INCLUDED = {"pyproject.toml", "README.md", "LICENSE", "docker/constraints.txt", "docker/weights.txt"}
INCLUDED |= {"job/train.py", "pneumo/a/b.py", "tests/t.py"}
EXCLUDED = {".git/config", ".venv/x", ".env", "job/.env", "docker/.env", "kaggle.json", "pneumo.egg-info/PKG-INFO"}
EXCLUDED |= {"data/x.parquet", "runs/best/oof.csv", "patient.dcm", "tests/x.dcm", "dicom-images-train/1.2.3"}
EXCLUDED |= {"tests/docker/t.py", "tests/slurm/t.py", "tests/k8s/t.py", "k8s/x.yaml", "pneumo/__pycache__/b.pyc"}


@pytest.mark.image
def test_nothing_but_the_sources_reaches_the_engine(engine: Engine, tmp_path: Path) -> None:
    for name in INCLUDED | EXCLUDED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    (tmp_path / "docker" / "Dockerfile").write_text('FROM scratch\nCOPY . /\nCMD ["x"]\n')
    flags = engine.build_flags[:3] if engine.command == "podman" else ()
    engine("build", *flags, "--file", tmp_path / "docker/Dockerfile", "--tag", "pneumo-context", tmp_path)
    container = engine("create", "pneumo-context").strip()
    out = tmp_path / "out"
    engine("cp", f"{container}:/", out)
    engine("rm", container)
    engine("rmi", "pneumo-context")
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found & EXCLUDED == set()
    assert found >= INCLUDED
