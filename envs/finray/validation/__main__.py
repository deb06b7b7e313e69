"""Command line of the validation cases."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

from envs.finray.validation import chains, coupled, cylinders, flag, flows, resolution
from envs.finray.validation.report import Result, save

CASES: dict[str, Callable[[], Result]] = {
    "poiseuille": flows.poiseuille,
    "taylor_green": flows.taylor_green,
    "chain": chains.chain_in_vacuum,
    "energy": coupled.energy,
    "mirror": coupled.mirror,
    "policies": coupled.policies,
    "flag": flag.flag,
    "plate": resolution.plate,
    "actuated": resolution.actuated,
    "oscillating_cylinder": cylinders.oscillating,
    "square_wave": coupled.square_wave,
    "dfg_2d1": functools.partial(cylinders.dfg, 20),
    "dfg_2d2": functools.partial(cylinders.dfg, 100),
    "cylinder_re20": functools.partial(cylinders.cylinder_re, 20),
    "cylinder_re40": functools.partial(cylinders.cylinder_re, 40),
    "cylinder_re100": functools.partial(cylinders.cylinder_re, 100),
}
"""Every case by name, shortest first."""


def main() -> int:
    """Run cases, write their results, and return 1 if a number left its band."""
    parser = argparse.ArgumentParser(prog="python -m envs.finray.validation", description=__doc__)
    parser.add_argument("cases", nargs="+", metavar="CASE", choices=[*CASES, "all"])
    parser.add_argument("--out", type=Path, default=Path("docs/results/finray"))
    given = parser.parse_args()
    names = list(CASES) if "all" in given.cases else given.cases
    failures = []
    for name in names:
        start = time.process_time()
        result = CASES[name]()
        seconds = time.process_time() - start
        path = save(result, given.out, seconds)
        for check in result.checks:
            mark = "ok  " if check.passed else "FAIL"
            band = f"[{check.low:.5g}, {check.high:.5g}]"
            print(f"{mark} {name}: {check.name} {check.value:.5g} {band}", flush=True)  # noqa: T201
        print(f"     {path}, {seconds:.0f} s of CPU", flush=True)  # noqa: T201
        failures += result.failures()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
