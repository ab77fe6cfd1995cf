"""No command connects to another machine, except for weights from the hub, or leaves temporary files."""

import stat
from pathlib import Path

from security_chain import Chain, Commands

from pneumo.runtime.files import publish, publish_directory


def test_no_command_tries_to_reach_another_machine_or_makes_files_that_can_be_guessed(chain: Chain) -> None:
    assert {"shard", "train", "ensemble", "predict", "export", "score"} <= set(chain.commands.output)
    assert not chain.commands.attempts.exists(), chain.commands.attempts.read_text()


def test_no_command_leaves_temporary_files(chain: Chain) -> None:
    assert list(chain.commands.temporary.iterdir()) == []
    kept = {".lock", ".ensemble.csv.pneumo-sha256", ".pneumo-sha256"}
    assert [path for path in chain.out.rglob(".*") if path.name not in kept] == []


def test_files_being_written_are_not_readable_by_others(tmp_path: Path) -> None:
    with publish(tmp_path / "file"):
        (temporary,) = tmp_path.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    with publish_directory(tmp_path / "folder") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o700


def test_only_the_hub_is_contacted_and_only_for_imagenet_weights(tmp_path: Path) -> None:
    """albumentations checks for newer versions of itself unless told not to; an unreachable hub is one line.

    This also shows that the guard records what libraries do, and a file of a predictable name.
    """
    commands = Commands(tmp_path)
    script = (
        "import tempfile, pathlib\n"
        "from pneumo.runtime import cli\n"
        "from pneumo.loading.augmentation import distortion\n"
        "from pneumo.modeling import models\n"
        "assert distortion.import_albumentations().__version__ == '2.0.8'\n"
        "(pathlib.Path(tempfile.gettempdir()) / 'guessed').touch()\n"
        "(pathlib.Path(tempfile.gettempdir()) / 'guessed').open('w').close()\n"
        "cli.run(lambda: models.build(models.ModelConfig(encoder='resnet18', encoder_weights='imagenet')))\n"
    )
    output = commands.run("hub", "-c", script, expect=3)
    assert "expected a connection to the Hugging Face hub" in output.splitlines()[-1]
    attempts = [line.rpartition(" [")[0] for line in commands.attempts.read_text().splitlines()]
    assert attempts[0] == f"predictable file {commands.temporary / 'guessed'}"
    assert {line.split()[1] for line in attempts[1:] if line.startswith("socket.")} == {"huggingface.co"}
    assert len(attempts) > 1
