"""Run overseer beside the yardstick and print what the comparison says.

    python -m benchmarks.run                       # everything, some minutes
    python -m benchmarks.run --workload stream     # one workload; may be repeated
    python -m benchmarks.run --quick --minimum 3   # the guard of CI, under a minute

The contenders run at the same time and are measured in turn, so that a busy machine disturbs both
alike. Only ratios within one run mean something.
"""

import argparse
import json
import os
import platform
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks.clients import ClientError
from benchmarks.contenders import COMMANDS, Contender, ContenderError
from benchmarks.workloads import RACES, TRIALS

CHALLENGER, YARDSTICK, CEILING = "overseer", "yardstick", "ceiling"
QUICK_WORKLOADS = ("stream", "fanout")


@dataclass
class Result:
    """The rates of one race, pair by pair."""

    workload: str
    title: str
    unit: str
    rates: dict[str, list[float]]

    @property
    def ratios(self):
        """The challenger's rate by the yardstick's, of each pair."""
        pairs = zip(self.rates[CHALLENGER], self.rates[YARDSTICK], strict=True)
        return [mine / theirs for mine, theirs in pairs]

    @property
    def ratio(self):
        """The median of the pairs' ratios."""
        return median(self.ratios)


def run_race(workload, contenders, pairs, seconds):
    """Measure every contender in turn, ``pairs`` times, for about ``seconds`` each time."""
    race = RACES[workload]
    amounts = {}
    for contender in contenders:
        amount = race.first_amount
        for _ in range(2):  # the first run is short and cold, the second tells more
            amount = max(1, round(amount / race.measure(contender, amount) * seconds))
        amounts[contender.name] = amount
    result = Result(workload, race.title, race.unit, {name: [] for name in amounts})
    for _ in range(pairs):
        for contender in contenders:
            amount = amounts[contender.name]
            rate = amount * race.weight / race.measure(contender, amount)
            result.rates[contender.name].append(rate)
    return result


def print_race(result):
    """Print one race as a table."""
    print(f"\n{result.title} ({result.unit})")
    print(f"  {'':12}{'median':>14}{'lowest':>14}{'highest':>14}")
    for name, rates in result.rates.items():
        print(f"  {name:12}{median(rates):14,.0f}{min(rates):14,.0f}{max(rates):14,.0f}")
    ratios = result.ratios
    print(f"  {'ratio':12}{result.ratio:13.2f}x{min(ratios):13.2f}x{max(ratios):13.2f}x")


def print_trial(trial, name, figures):
    """Print the figures of one trial, each with its bound."""
    print(f"\n{trial.title} ({name})")
    for figure in figures:
        bound = ""
        if figure.at_least is not None:
            bound = f"at least {figure.at_least:,}"
        elif figure.at_most is not None:
            bound = f"at most {figure.at_most:,}"
        if bound and not figure.holds:
            bound += "  <- MISSED"
        print(f"  {figure.title:56}{figure.value:14,.2f} {figure.unit:9}{bound}")


def environment():
    """Name the machine and the versions."""

    def package(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "overseer": package("sticky-overseer"),
        "twisted": package("twisted"),
        "autobahn": package("autobahn"),
    }


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
        choices=[*RACES, *TRIALS],
        help="run this one; may be repeated (default: all)",
    )
    add("--quick", action="store_true", help="stream and fanout only, short runs, for CI")
    add("--pairs", type=int, help="how often each contender is measured (15; quick: 5)")
    add("--seconds", type=float, help="length of each run of a race (2; quick: 0.7)")
    add("--lines", type=int, default=5_000_000, help="lines of `stalled` and `lone`")
    add(
        "--minimum",
        type=float,
        metavar="RATIO",
        help="exit with 1 if stream or fanout has a lower ratio to the yardstick",
    )
    add("--ceiling", action="store_true", help="also show what the measuring client can take")
    add("--trials-of", choices=[CHALLENGER, YARDSTICK], default=CHALLENGER, help="whom to try")
    add(
        "--overseer-command",
        metavar="COMMAND",
        default=COMMANDS[CHALLENGER],
        help="how to start overseer; {python}, {config}, {port}, {folder} are filled in",
    )
    add("--json", type=Path, metavar="FILE", help="write every figure to this file, too")
    options = parser.parse_args(arguments)
    options.pairs = options.pairs or (5 if options.quick else 15)
    options.seconds = options.seconds or (0.7 if options.quick else 2.0)
    options.workload = options.workload or (QUICK_WORKLOADS if options.quick else [*RACES, *TRIALS])
    return options


def run(options):
    """Run the chosen workloads; return ``(figures for JSON, what was missed)``."""
    commands = {**COMMANDS, CHALLENGER: options.overseer_command}
    racers = [CHALLENGER, YARDSTICK] + [CEILING] * options.ceiling
    report = {"environment": environment(), "races": {}, "trials": {}}
    missed = []
    for name, value in report["environment"].items():
        print(f"{name:12}{value}")
    for workload in options.workload:
        with ExitStack() as stack:
            if workload in RACES:
                names = [name for name in racers if name != CEILING or workload != "spawn"]
                contenders = [
                    stack.enter_context(Contender(name, commands[name])) for name in names
                ]
                result = run_race(workload, contenders, options.pairs, options.seconds)
                print_race(result)
                report["races"][workload] = {
                    **asdict(result),
                    "ratios": result.ratios,
                    "ratio": result.ratio,
                }
                applies = options.minimum is not None and RACES[workload].minimum_applies
                if applies and result.ratio < options.minimum:
                    missed.append(
                        f"{workload}: {result.ratio:.2f}x the yardstick, must be"
                        f" at least {options.minimum}x"
                    )
            else:
                trial = TRIALS[workload]
                name = options.trials_of
                contender = stack.enter_context(Contender(name, commands[name]))
                figures = trial.run(contender, options.lines, min(options.pairs, 5))
                print_trial(trial, name, figures)
                report["trials"][workload] = [asdict(figure) for figure in figures]
                missed += [
                    f"{workload}: {figure.title} is {figure.value:.2f} {figure.unit}"
                    for figure in figures
                    if not figure.holds
                ]
        sys.stdout.flush()
    return report, missed


def main(arguments=None):
    """Run the benchmarks; return the exit status."""
    options = parse_arguments(arguments)
    # A terminated harness ends its contenders like any other error does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        report, missed = run(options)
    except (ClientError, ContenderError, OSError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps(report | {"missed": missed}, indent=2) + "\n")
    for line in missed:
        print(f"\nMISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
