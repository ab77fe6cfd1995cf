"""k8s/README.md beside the manifests: its commands, figures and names are theirs."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml
from manifests import K8S, VARIANTS, kustomized, objects_of, plain_files, pods, read
from pages import blocks


def test_the_command_of_the_readme_names_the_image_everywhere(tmp_path: Path) -> None:
    """And undoes it, with nothing of what else has been edited."""
    shutil.copytree(K8S, tmp_path / "k8s", symlinks=True)
    config = tmp_path / "k8s" / "base" / "10-config.yaml"
    config.write_text(config.read_text().replace("RECIPE: best", "RECIPE: seed"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")}
    do, undo = (line for line in (K8S / "README.md").read_text().splitlines() if line.startswith("sed "))
    subprocess.run(["bash", "-ec", do], cwd=tmp_path, check=True)
    changed = [path for path in (tmp_path / "k8s").iterdir() if path.suffix == ".yaml"]
    assert all(path.is_symlink() for path in changed)
    objects = [item for path in (*changed, tmp_path / "k8s/copy/copy.yaml") for item in read(path)]
    objects += objects_of(kustomized(tmp_path / "k8s/cpu"))
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert images == {"registry.example.org/me/pneumo:0.2.0"}
    subprocess.run(["bash", "-ec", undo], cwd=tmp_path, check=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")} == before


def test_the_readme_says_what_the_jobs_request() -> None:
    table = re.findall(r"^\| `(\S+\.yaml)` \| (\d+) \| (.*) \|$", (K8S / "README.md").read_text(), re.MULTILINE)
    assert [row[0] for row in table] == ["50-shard.yaml", "60-folds.yaml", "70-ensemble.yaml"]
    for name, at_once, text in table:
        (job,) = read(K8S / name)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        requests = container["resources"]["requests"]
        gpus = f", {requests['nvidia.com/gpu']} GPU" if "nvidia.com/gpu" in requests else ""
        assert text == f"{requests['cpu']} cores, {requests['memory'].removesuffix('Gi')} GiB{gpus}"
        assert int(at_once) == job["spec"].get("parallelism", 1)


def test_the_readme_gives_flags_in_settings_that_exist() -> None:
    ((_, block),) = blocks(K8S / "README.md", "yaml")
    (config,) = read(K8S / "10-config.yaml")
    assert yaml.safe_load(block).keys() <= config["data"].keys()


def test_the_readme_names_existing_files() -> None:
    text = (K8S / "README.md").read_text()
    assert {path.name for path in plain_files()} <= set(re.findall(r"`([0-9]{2}-[a-z]+\.yaml)`", text))
    named = set(re.findall(r"k8s/[a-z0-9-]+", text))
    assert {f"k8s/{name}" for name in VARIANTS} <= named
    assert all((K8S.parent / path).exists() for path in named)
