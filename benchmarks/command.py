"""What the command line takes for what the counting client does: `overseer run` with its output in a file."""

import subprocess
import sys
import tempfile
from time import perf_counter

from benchmarks.clients import ClientError
from benchmarks.contenders import LINE
from benchmarks.figures import Figure, Outcome
from benchmarks.races import firehose

LINES = 1_000_000


def overseer_run(contenders, effort):
    """Stream lines to the counting client and into a file of `overseer run`, in turn."""
    (contender,) = contenders.values()
    lines = min(effort.lines, LINES)
    counted, printed, begun = [], [], []
    for _ in range(effort.pairs):
        counted.append(firehose(contender, lines))
        printed.append(into_a_file(contender, lines))
        begun.append(into_a_file(contender, 1))
    ratios = [client / command for client, command in zip(counted, printed, strict=True)]
    return Outcome(
        [
            Figure.of("of the counting client's rate", ratios, "x", at_least=0.5),
            Figure.of(f"{lines:,} lines, from exec to exit", printed, "s"),
            Figure.of("one line, from exec to exit", begun, "s"),
        ]
    )


def into_a_file(contender, lines):
    """Return the seconds of the whole command, which must print every byte."""
    words = [
        "overseer",
        "run",
        "firehose",
        "-p",
        f"count={lines}",
        "--url",
        f"ws://{contender.address}/ws",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        tempfile.TemporaryFile() as output,
    ):
        begin = perf_counter()
        # In a folder of its own, so that this is the installed package.
        subprocess.run([sys.executable, "-m", *words], cwd=folder, stdout=output, check=True)
        seconds = perf_counter() - begin
        output.seek(0)
        if output.read() != f"{LINE}\n".encode() * lines:
            raise ClientError(f"overseer run has not printed {lines:,} lines as they are")
    return seconds
