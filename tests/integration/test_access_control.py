"""Who may connect to a real daemon, and what it then may do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SHELL, Daemon
from websockets.exceptions import InvalidStatus

ADMIN, VIEWER, OTHER = (f"{name}-0123456789abcdef" for name in ("admin", "viewer", "other"))

Launch = Callable[..., Daemon]


@pytest.fixture(scope="module")
def guarded(launch_shared: Launch, tmp_path_factory: pytest.TempPathFactory) -> Daemon:
    """A daemon with a token of each source, which listens on a Unix socket, too."""
    token_file = tmp_path_factory.mktemp("tokens") / "viewer"
    token_file.write_text(f"{VIEWER}\n")
    config = SHELL.replace('"127.0.0.1:0"', '["127.0.0.1:0", "./socket"]')
    config += f"""
auth:
  tokens:
    - {{token: {ADMIN}, name: ops}}
    - {{token_file: {token_file}, role: viewer, name: wall}}
    - {{token_env: OTHER_TOKEN}}
"""
    return launch_shared(config, environment={"OTHER_TOKEN": OTHER})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refusal(daemon: Daemon, **options: object) -> int:
    """Return the status with which a client is refused."""
    with pytest.raises(InvalidStatus) as caught, daemon.client(**options):
        pass
    return caught.value.response.status_code


def test_without_a_token_nobody_comes_in(guarded: Daemon) -> None:
    """Over TCP only the health check answers, and no address carries a token."""
    assert refusal(guarded) == 401
    assert refusal(guarded, additional_headers=bearer("wrong-0123456789abcdef")) == 401
    assert refusal(guarded, subprotocols=["overseer.v1"]) == 401
    close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert guarded.http(f"GET /healthz {close}").startswith("HTTP/1.1 200 ")
    answer = guarded.http(f"GET /ws/manifest?token={ADMIN} {close}")
    assert answer.startswith("HTTP/1.1 401 ")
    assert "WWW-Authenticate: Bearer\r\n" in answer


@pytest.mark.parametrize("token", [ADMIN, OTHER])
def test_an_admin_does_everything(guarded: Daemon, token: str) -> None:
    """By the token of the file, and by that of the variable, which no child inherits."""
    with guarded.client(additional_headers=bearer(token)) as client:
        lines = [m.get("data") for m in client.run("env | grep -c OTHER_TOKEN")]
    assert "0" in lines


def test_a_viewer_in_a_browser_only_looks(guarded: Daemon) -> None:
    """Its token comes as a subprotocol; ours is selected, and other clients' tasks are seen."""
    page = {"origin": guarded.url.replace("ws://", "http://").removesuffix("/ws")}
    offer = ["overseer.v1", f"bearer.{VIEWER}"]
    with guarded.client(subprotocols=offer, **page) as viewer:
        assert viewer.connection.subprotocol == "overseer.v1"
        viewer.ask(type="subscribe", task_id="*")
        with guarded.client(additional_headers=bearer(ADMIN)) as admin:
            admin.run("echo seen", task_id="shown")
        seen = viewer.until("exited")
        assert "seen" in [message.get("data") for message in seen]
        viewer.send(type="start", action="sh", params={"script": "true"})
        assert viewer.until("error")[-1]["message"].startswith('not permitted: "start" needs')
        assert viewer.ask(type="list")["type"] == "tasks"
    assert refusal(guarded, subprotocols=offer, origin="http://evil.example") == 403


def test_a_unix_socket_needs_no_token(guarded: Daemon) -> None:
    """Whoever may open it is an admin."""
    with guarded.unix_client(guarded.folder / "socket") as client:
        assert [m["type"] for m in client.run("true")][-1] == "exited"


def test_the_log_names_clients_and_shows_no_token(guarded: Daemon) -> None:
    """Also after everything above."""
    with guarded.client(additional_headers=bearer(ADMIN)):
        guarded.wait_for_log(r"ops \(admin\) connects from 127\.0\.0\.1")
    assert refusal(guarded, subprotocols=["overseer.v1", "bearer.wrong-0123456789"]) == 401
    guarded.wait_for_log("401 'this token is not known'")
    assert "0123456789" not in guarded.log


def test_trusted_networks(launch: Launch) -> None:
    """Peers outside are refused, on every path but those that always answer loopback."""
    daemon = launch(environment={"OVERSEER_TRUSTED_CIDRS": "127.0.0.2, 10.0.0.0/8"})
    with daemon.client(source_address=("127.0.0.2", 0)) as client:
        assert client.run("true")[-1]["exit_code"] == 0
    assert refusal(daemon) == 403
    close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert daemon.http(f"GET /readyz {close}").startswith("HTTP/1.1 200 ")
    answer = daemon.http(f"GET / {close}")
    assert answer.startswith("HTTP/1.1 403 ")
    assert "trusted_cidrs" in answer


@pytest.mark.parametrize("tokens", [False, True])
def test_the_warning_of_an_open_listener(launch: Launch, tokens: bool) -> None:
    """It says who may start tasks; with tokens there is nothing to warn of."""
    config = SHELL.replace("127.0.0.1:0", "0.0.0.0:0")
    if tokens:
        config += f"auth: {{tokens: [{{token: {ADMIN}}}]}}\n"
    daemon = launch(config)
    warned = "every peer in this host's own networks (127.0.0.0/8" in daemon.log
    assert warned is not tokens


def test_bad_tokens_end_the_start(launch: Launch, tmp_path: Path) -> None:
    """All at once, with their places and without their texts."""
    config = f"""
auth:
  tokens:
    - {{token: secret-secret}}
    - {{token_file: {tmp_path}/none}}
"""
    daemon = launch(config, ready=False)
    assert daemon.process.wait(20) == 1
    daemon.stop()
    assert "yaml:4: auth.tokens[0].token: expected at least 16 characters" in daemon.log
    assert "yaml:5: auth.tokens[1].token_file: the file cannot be read" in daemon.log
    assert "secret-secret" not in daemon.log
