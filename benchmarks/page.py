"""Writes docs/performance.md, and the plot in it, from the figures of the last runs.

python -m benchmarks.page benchmarks/results.json docs/performance.md
"""

import json
import sys
from pathlib import Path
from statistics import median

from benchmarks import plot
from benchmarks.workloads import WORKLOADS

HEAD = """\
# Performance

How fast overseer is beside others, measured side by side by `make bench`, which writes this page. How it
measures, and how to read it: [benchmarks/README.md](../benchmarks/README.md). Ratios of one run mean
something; absolute figures prove nothing, as the same server gives twice the rate on an idle machine.

| contender | what it is |
| --- | --- |
| overseer | this program, as installed |
| yardstick | the plain Autobahn server: `reactor.spawnProcess`, one `sendMessage` a line and subscriber |
| websocketd | the Go program of Debian: one process a connection, the bare line in each message |
| ceiling | a limit: prepared bytes of the same size, copied to the sockets |
| cat | a limit: cat(1) reading the same pipe |

![Rates as multiples of the yardstick's](performance.svg)
"""

NOTES = """\
## What limits it

- **Streams**: beside `cat` and the copy of prepared bytes, one processor of Python. Per read of 64 KiB: decode,
  one JSON encoding, one join; per subscriber one write of the same bytes.
- **Starts**: of the processor time of a task two fifths are its program's, to be loaded and to end, and two
  fifths the reactor's, in small parts: reading the request is the largest, a tenth of them. Two threads wait
  for the kernel, which opens the program, without Python's lock, and ask for it five times a start.
- **Starts beside thousands of running tasks**: each of these has three descriptors open, and at every exec the
  kernel closes the child's copies of all of them, one by one. A bare loop falls to a fraction so; its figure
  stands beside ours. The threads that start processes have tables of their own, with few in them.
- **Fan-out**: one system call a subscriber and turn of the reactor, right after the turn.
- **JSON filters**: every line is checked to be JSON in whole, as the expression language wants it.
"""


def write(target, results):
    """Write the page to ``target`` and the plot beside it; what was not measured is left out."""
    known = [(name, results[name]) for name in WORKLOADS if name in results]
    parts = [HEAD, _promises(known)]
    races = [(name, result) for name, result in known if result["rates"]]
    trials = [(name, result) for name, result in known if not result["rates"]]
    parts += ["## Rates\n", *(_race(name, result) for name, result in races)]
    parts += ["## Other figures\n", *(_trial(name, result) for name, result in trials)]
    parts += [NOTES, _environments(known)]
    target.write_text("\n".join(parts))
    rates = {
        WORKLOADS[name].title: {
            contender: median(values) / median(result["rates"]["yardstick"])
            for contender, values in result["rates"].items()
        }
        for name, result in races
        if "yardstick" in result["rates"]
    }
    target.with_suffix(".svg").write_text(plot.bars(rates))


def _promises(known):
    """Return the table of everything that has a bound."""
    rows = []
    for name, result in known:
        for figure in result["figures"]:
            bounds = [
                f"{word} {_number(figure[key])} {figure['unit']}"
                for key, word in (("at_least", "≥"), ("at_most", "≤"))
                if figure[key] is not None
            ]
            if bounds:
                aim = f" (aim: {_number(figure['aim'])})" if figure["aim"] else ""
                rows.append(
                    f"| {WORKLOADS[name].title}: {figure['title']} | {_value(figure)}"
                    f" | {bounds[0]}{aim} | {'yes' if _holds(figure) else '**no**'} |"
                )
    head = (
        "## What shall hold\n\n| figure | measured | bound | holds |\n| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(rows) + "\n"


def _race(name, result):
    lines = [
        f"### {WORKLOADS[name].title} ({result['unit']})\n",
        "| | median | lowest | highest |",
        "| --- | --: | --: | --: |",
    ]
    for contender, rates in result["rates"].items():
        lines.append(
            f"| {contender} | {median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |"
        )
    for figure in result["figures"]:
        low, high = _number(figure["low"]), _number(figure["high"])
        ratio = _number(figure["value"])
        lines.append(f"| **{figure['title']}** | **{ratio}x** | {low}x | {high}x |")
    return "\n".join(lines) + "\n"


def _trial(name, result):
    lines = [f"### {WORKLOADS[name].title}\n", "| | |", "| --- | --: |"]
    lines += [f"| {figure['title']} | {_value(figure)} |" for figure in result["figures"]]
    return "\n".join(lines) + "\n"


def _environments(known):
    lines = ["## Machine and versions\n"]
    machines = {}
    for name, result in known:
        here = {key: value for key, value in result["environment"].items() if key != "load before"}
        machines.setdefault(json.dumps(here), []).append((name, result))
    for machine, measured in machines.items():
        described = ", ".join(f"{key} {value}" for key, value in json.loads(machine).items())
        when = sorted(result["when"] for _, result in measured)
        loads = [result["environment"]["load before"] for _, result in measured]
        efforts = {f"{one['pairs']} rounds of about {one['seconds']:g} s" for _, one in measured}
        lines.append(
            f"{described}. Load before the runs {min(loads)} to {max(loads)}."
            f" {' and '.join(sorted(efforts))}, {when[0]} to {when[-1]}:"
            f" {', '.join(f'`{name}`' for name, _ in measured)}.\n"
        )
    return "\n".join(lines)


def _holds(figure):
    low_enough = figure["at_most"] is None or figure["value"] <= figure["at_most"]
    return low_enough and (figure["at_least"] is None or figure["value"] >= figure["at_least"])


def _value(figure):
    text = f"{_number(figure['value'])} {figure['unit']}"
    if figure["low"] is None:
        return text
    return f"{text} ({_number(figure['low'])} to {_number(figure['high'])})"


def _number(value):
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2g}"


if __name__ == "__main__":
    write(Path(sys.argv[2]), json.loads(Path(sys.argv[1]).read_text()))
