"""Run overseer beside its rivals and print what the comparison says.

    python -m benchmarks.run                       # everything, some twenty minutes
    python -m benchmarks.run --workload stream     # one workload; may be repeated
    python -m benchmarks.run --quick               # the guard of CI, a minute or two
    make bench                                     # everything, and docs/performance.md anew

The contenders of a workload run at the same time and are measured in turn, so that a busy machine
disturbs all alike. Only ratios within one run mean something.
"""

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks import page
from benchmarks.clients import ClientError
from benchmarks.contenders import OVERSEER, Contender, ContenderError, is_installed
from benchmarks.figures import Effort
from benchmarks.workloads import QUICK, WORKLOADS

QUICK_TOLERANCE = 0.45


def print_outcome(workload, outcome):
    """Print one workload: the rates of a race, then the figures, each with its bound."""
    print(f"\n{workload.title}{f' ({outcome.unit})' if outcome.unit else ''}")
    if outcome.rates:
        print(f"  {'':20}{'median':>14}{'lowest':>14}{'highest':>14}")
    for name, rates in outcome.rates.items():
        print(f"  {name:20}{median(rates):14,.0f}{min(rates):14,.0f}{max(rates):14,.0f}")
    for figure in outcome.figures:
        notes = []
        if figure.low is not None:
            notes.append(f"{figure.low:,.2f} to {figure.high:,.2f}")
        if figure.at_least is not None:
            notes.append(f"at least {figure.at_least:,}")
        if figure.at_most is not None:
            notes.append(f"at most {figure.at_most:,}")
        if not figure.holds:
            notes.append("<- MISSED")
        print(f"  {figure.title:56}{figure.value:14,.2f} {figure.unit:9}{'; '.join(notes)}")
    sys.stdout.flush()


def environment():
    """Name the machine and the versions."""

    def package(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "overseer": package("sticky-overseer"),
        "twisted": package("twisted"),
        "autobahn": package("autobahn"),
    }
    if is_installed("websocketd"):
        # It does not know its own version when Debian has built it.
        query = ["dpkg-query", "--show", "--showformat=${Version}", "websocketd"]
        told = subprocess.run(query, check=False, capture_output=True, text=True)
        found["websocketd"] = told.stdout or "of unknown version"
    return found


def parse_arguments(arguments):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--workload",
        action="append",
        choices=WORKLOADS,
        help="run this one; may be repeated (default: all)",
    )
    add(
        "--quick",
        action="store_true",
        help=f"ratios only, in short runs, for CI: {', '.join(QUICK)}; missed is only what keeps less than"
        f" {QUICK_TOLERANCE} of its bound",
    )
    add("--pairs", type=int, help="how often each contender is measured (15; quick: 5)")
    add("--seconds", type=float, help="length of each run of a race (1; quick: 0.7)")
    add("--lines", type=int, help="lines of the long trials (5,000,000; quick: 500,000)")
    add("--trials-of", metavar="CONTENDER", help="try this one, not overseer: yardstick")
    add(
        "--overseer-command",
        metavar="COMMAND",
        default=OVERSEER,
        help="how to start overseer; {python}, {config}, {port}, {folder} are filled in",
    )
    add("--json", type=Path, metavar="FILE", help="put every figure into this file, too")
    add("--page", type=Path, metavar="FILE", help="write the page of all figures in --json")
    options = parser.parse_args(arguments)
    options.pairs = options.pairs or (5 if options.quick else 15)
    options.seconds = options.seconds or (0.7 if options.quick else 1.0)
    options.lines = options.lines or (500_000 if options.quick else 5_000_000)
    options.workload = options.workload or (QUICK if options.quick else list(WORKLOADS))
    if options.page and not options.json:
        parser.error("--page needs --json")
    return options


def measure(name, options):
    """Run one workload and return its Outcome."""
    workload = WORKLOADS[name]
    names = [one for one in workload.contenders if one == "cat" or is_installed(one)]
    if options.quick:
        names = names[:2]
    if options.trials_of and len(names) == 1:
        names = [options.trials_of]
    with ExitStack() as stack:
        contenders = {
            one: stack.enter_context(Contender(one, options.overseer_command))
            if one != "cat"
            else None
            for one in names
        }
        effort = Effort(options.pairs, options.seconds, options.lines)
        return workload.run(contenders, effort)


def missed_bounds(name, outcome, tolerance):
    """Return a line for each figure of a workload that does not keep so much of its bound."""
    return [
        f"{name}: {figure.title} is {figure.value:.2f} {figure.unit}"
        for figure in outcome.figures
        if not figure.holds and not figure.value >= tolerance * (figure.at_least or float("inf"))
    ]


def run(options):
    """Run the chosen workloads; return what was missed."""
    here = environment()
    for name, value in here.items():
        print(f"{name:12}{value}")
    missed = []
    for name in options.workload:
        outcome = measure(name, options)
        print_outcome(WORKLOADS[name], outcome)
        missed += missed_bounds(name, outcome, QUICK_TOLERANCE if options.quick else 1.0)
        if options.json:
            add_result(options, name, here, outcome)
    return missed


def add_result(options, name, here, outcome):
    """Put the outcome of one workload in the place of an earlier one, and leave all others."""
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    found[name] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "pairs": options.pairs,
        "seconds": options.seconds,
        "environment": here,
        **asdict(outcome),
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")


def main(arguments=None):
    """Run the benchmarks; return the exit status."""
    options = parse_arguments(arguments)
    # Both ends of thousands of connections, and what a daemon of thousands of tasks inherits.
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    # A terminated harness ends its contenders like any other error does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        missed = run(options)
    except (ClientError, ContenderError, OSError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.page:
        page.write(options.page, json.loads(options.json.read_text()))
    for line in missed:
        print(f"\nMISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
