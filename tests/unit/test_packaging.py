"""The files for Docker fit together: configurations that hold, and nothing that the build would not find."""

import re
from pathlib import Path

import pytest
import yaml

from overseer.core.config import load_config
from overseer.drivers.registry import installed_drivers

CHECKOUT = Path(__file__).parents[2]
DOCKER = CHECKOUT / "docker"


@pytest.mark.parametrize("name", ["example-config.yaml", "bb-overseer.yaml"])
def test_the_configurations_hold(name: str) -> None:
    """They start without tokens, as v2's did, with the warning that this deserves."""
    text = (DOCKER / name).read_text()
    config = load_config(text, name, {}, installed_drivers().check, lambda name: "")
    assert "echo" in config.actions
    assert not config.tokens


def test_the_build_finds_what_it_copies() -> None:
    """Each thing exists, and .dockerignore lets it through."""
    dockerfile = (DOCKER / "Dockerfile").read_text()
    ignored, *let_through = (CHECKOUT / ".dockerignore").read_text().splitlines()[1:]
    assert ignored == "*"
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in line.split()
    ]
    assert len(copied) > 5
    for source in copied:
        assert (CHECKOUT / source).exists()
        assert f"!{source}" in let_through


@pytest.mark.parametrize("name", ["compose.yaml", "compose-bb.yaml"])
def test_what_is_mounted_exists(name: str) -> None:
    """Docker would make an empty folder of it instead."""
    services = yaml.safe_load((DOCKER / name).read_text())["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert files
    for file in files:
        assert (DOCKER / file).is_file()
