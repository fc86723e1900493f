"""The environment of a child."""

from overseer.process import child_environment


def test_what_systemd_tells_the_daemon_stays_with_it():
    base = dict.fromkeys(
        [
            "HOME",
            "LISTEN_FDNAMES",
            "LISTEN_FDS",
            "LISTEN_PID",
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
        ],
        "x",
    )
    assert child_environment(base) == {"HOME": "x"}
    assert len(base) == 7


def test_variables_that_are_asked_for_win():
    environment = child_environment(
        {"A": "1", "B": "1", "NOTIFY_SOCKET": "ours"}, {"B": "2", "NOTIFY_SOCKET": "theirs"}
    )
    assert environment == {"A": "1", "B": "2", "NOTIFY_SOCKET": "theirs"}
