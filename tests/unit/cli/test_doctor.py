"""``overseer doctor``: what it finds on a machine where this or that is not well."""

import json
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from overseer.cli import doctor, main

Examine = Callable[..., dict[str, doctor.Finding]]


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Look at a configuration in an empty folder; return the worst finding of each subject."""
    for name in [name for name in os.environ if name.startswith("OVERSEER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def examine(text: str = "") -> dict[str, doctor.Finding]:
        (tmp_path / "config.yaml").write_text(f'listen: "127.0.0.1:0"\n{text}')
        found: dict[str, doctor.Finding] = {}
        for finding in doctor.examine(None):
            known = found.get(finding.subject)
            if known is None or known.level == "ok":
                found[finding.subject] = finding
        return found

    return examine


def test_a_machine_that_is_well(examine: Examine) -> None:
    """Everything is looked at, and nothing fails."""
    found = examine()
    assert {"configuration", "user", "listen 127.0.0.1:0", "db", "descriptors", "processes"} < set(
        found
    )
    assert {"pidfd", "subreaper", "cgroup"} < set(found)
    assert not [finding for finding in found.values() if finding.level == "fail"]
    assert all(
        finding.advice
        for finding in found.values()
        if finding.level == "warn" and finding.subject != "cgroup"
    )


def test_without_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is a warning, a missing file that was named is a failure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERSEER_LISTEN", "127.0.0.1:0")
    assert main(["doctor"]) == 0
    assert "warn  configuration: there is none" in capsys.readouterr().out
    assert main(["doctor", "--config", "nope.yaml"]) == 1
    assert "fail  configuration: cannot read the configuration nope.yaml" in capsys.readouterr().out


def test_mistakes_of_the_configuration(examine: Examine) -> None:
    """They are told, and nothing is said of ports and files that another configuration would have."""
    found = examine("colour: red\n")
    assert found["configuration"].level == "fail"
    assert found["configuration"].text == "config.yaml:2: colour: unknown key"
    assert {"user", "descriptors", "pidfd"} < set(found)
    assert not [subject for subject in found if subject.startswith(("listen", "db"))]


def test_a_port_in_use(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("OVERSEER_LISTEN", f"127.0.0.1:{port}")
        taken.settimeout(0)
        finding = examine()[f"listen 127.0.0.1:{port}"]
    assert (finding.level, finding.text) == ("fail", "Address already in use")
    assert str(port) in finding.advice


def test_an_address_of_another_machine(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERSEER_LISTEN", "192.0.2.254:8080")  # RFC 5737: for documentation
    finding = examine()["listen 192.0.2.254:8080"]
    assert (finding.level, finding.advice) == ("fail", "see `ip address`, and change listen")


def test_open_to_other_machines_without_tokens(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERSEER_LISTEN", "0.0.0.0:0")
    finding = examine()["listen 0.0.0.0:0"]
    assert finding.level == "warn"
    assert "auth.tokens" in finding.advice


def test_tokens_that_others_can_read(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch(0o644)
    tokens = "auth: {tokens: [{token: 0123456789abcdef0123, role: admin}]}\n"
    assert examine(tokens)["permissions"].advice == "chmod 600 config.yaml"


def test_a_database_that_is_none(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    sqlite3.connect(tmp_path / "sound.db").executescript("CREATE TABLE mine (id);")
    assert examine("db: broken.db\n")["db broken.db"].level == "fail"
    assert examine("db: sound.db\n")["db sound.db"].level == "ok"
    assert examine("db: no/folder.db\n")["db no/folder.db"].advice == "mkdir -p no"
    assert not (tmp_path / "no").exists()


def test_a_log_file_without_its_folder(examine: Examine) -> None:
    assert examine("log_file: no/events.jsonl\n")["log_file no/events.jsonl"].level == "fail"


def test_programs_that_are_not_there(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "script").touch(0o644)
    found = examine(
        f"""
actions:
  here: {{type: exec, config: {{entrypoint: sh}}}}
  gone: {{type: exec, config: {{entrypoint: no-such-program}}}}
  flat: {{type: exec, config: {{entrypoint: {tmp_path}/script}}}}
  lost: {{type: exec, config: {{entrypoint: sh, cwd: no/folder}}}}
"""
    )
    assert found["action here"].level == "ok"
    assert found["action gone"].text == 'there is no program "no-such-program"'
    assert found["action flat"].advice == f"chmod a+x {tmp_path}/script"
    assert found["action lost"].advice == "mkdir -p no/folder"


def test_as_json(examine: Examine, capsys: pytest.CaptureFixture[str]) -> None:
    """A list of findings, and the same status."""
    examine("colour: red\n")
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert findings[0]["level"] == "fail"
    assert set(findings[0]) == {"level", "subject", "text", "advice"}
