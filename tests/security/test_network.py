"""Nothing leaves the machine at run time, except where the user asks for weights from the hub."""

from security_chain import Chain, Commands


def test_no_command_tries_to_reach_another_machine(chain: Chain) -> None:
    assert set(chain.commands.said) == {"shard", "train", "ensemble", "predict", "score"}
    assert not chain.commands.attempts.exists(), chain.commands.attempts.read_text()


def test_the_distortions_do_not_ask_for_newer_versions(tmp_path) -> None:
    commands = Commands(tmp_path)
    script = "from pneumo.loading import distortion; print(distortion._albumentations().__version__)"
    assert "2.0.8" in commands.run("albumentations", "-c", script)
    assert not commands.attempts.exists(), commands.attempts.read_text()


def test_the_hub_is_asked_for_imagenet_weights_alone_and_its_absence_is_one_line(tmp_path) -> None:
    """This also shows that the guard sees what libraries do."""
    commands = Commands(tmp_path)
    script = (
        "from pneumo import cli\n"
        "from pneumo.modeling import models\n"
        "cli.run(lambda: models.build(models.ModelConfig(encoder='resnet18', encoder_weights='imagenet')))\n"
    )
    said = commands.run("hub", "-c", script, expect=2)
    assert "expected a connection to the Hugging Face hub" in said.splitlines()[-1]
    hosts = {line.split()[1] for line in commands.attempts.read_text().splitlines()}
    assert hosts == {"huggingface.co"}
