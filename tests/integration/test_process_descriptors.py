"""Limits and inherited descriptors, each in a process of its own: they are the whole process's."""

import os
import resource
import subprocess
import sys

SCRIPT_LIMIT = """
import resource
from overseer.process import raise_descriptor_limit
limit = raise_descriptor_limit()
print(limit.before, limit.after, limit.tasks, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""

SCRIPT_SEAL = """
import os, subprocess
from overseer.process import seal_inherited_descriptors
sealed = seal_inherited_descriptors()
print(*sealed)
print(*subprocess.check_output(["ls", "/proc/self/fd"], close_fds=False, text=True).split())
"""


def run(script: str, **options) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, **options
    ).stdout


def test_the_soft_limit_is_raised_to_the_hard_one():
    command = ["prlimit", "--nofile=100:1000", sys.executable, "-c", SCRIPT_LIMIT]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == f"100 1000 {(1000 - 64) // 3} 1000 1000\n"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 1000


def test_inherited_descriptors_stay_in_the_daemon():
    inherited = os.open(os.devnull, os.O_RDONLY)
    try:
        sealed, seen = run(SCRIPT_SEAL, pass_fds=(inherited,)).splitlines()
    finally:
        os.close(inherited)
    assert inherited in map(int, sealed.split())
    assert seen == "0 1 2 3"  # 3 is the folder that ls reads
