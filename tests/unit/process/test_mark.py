"""The mark that a process bears, in what it is given and in what /proc shows of it."""

import os
import subprocess
from pathlib import Path

from overseer.process.mark import mark_in, mark_of

ENVIRONMENT = {"A": "OVERSEER_RUN=x", "OVERSEER_INSTANCE": "me", "OVERSEER_RUN": "a=b é"}


def test_what_is_given_is_found_again() -> None:
    """Whatever the value; variables that only look like it do not count."""
    mark = (b"me", "a=b é".encode())
    assert mark_of(ENVIRONMENT) == mark
    pipe = subprocess.PIPE
    environment = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(["cat"], env=environment, stdin=pipe, stdout=pipe) as process:
        # Popen returns while the kernel still sets up the program: /proc may show nothing yet.
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        shown = Path(f"/proc/{process.pid}/environ").read_bytes()
        process.kill()
    assert mark_in(b"\0" + shown) == mark


def test_half_a_mark_is_none() -> None:
    """It takes all of the variables."""
    assert mark_of({"OVERSEER_RUN": "a"}) is None
    assert mark_of({"OVERSEER_RUN": "a", "OVERSEER_INSTANCE": ""}) is None
    assert mark_in(b"\0OVERSEER_INSTANCE=me\0") is None
    assert mark_in(b"\0") is None
