"""One column in a process of its own: told a number of steps, it answers with the seconds that they took.

A process of its own, because allocators, pools of threads and settings of one peer must not help or hurt another.
"""

import json
import os
import sys
import time
import warnings


def main(column: str, problem: str, batch: str, threads: str, device: str, clock: str) -> None:
    """Answer lines of JSON on standard output; what libraries print goes to standard error."""
    answers, sys.stdout = os.fdopen(os.dup(1), "w", buffering=1), sys.stderr
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity") and device == "cpu":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    warnings.simplefilter("ignore")
    import torch

    from tests.benchmarks.columns import load
    from tests.benchmarks.problems import PROBLEMS

    torch.set_num_threads(int(threads))
    now = time.process_time if clock == "cpu" else time.perf_counter
    try:
        make = load(column)
        started = time.perf_counter()
        run = make(PROBLEMS[problem], int(batch), device)
        run(1)
    except BaseException as error:  # pytest's Skipped, where a package is missing, is no Exception
        print(json.dumps({"missing": f"{type(error).__name__}: {str(error).splitlines()[0]}"}), file=answers)
        return
    print(json.dumps({"first": time.perf_counter() - started}), file=answers)
    for line in sys.stdin:
        count = int(line)
        started = now()
        run(count)
        print(json.dumps({"seconds": now() - started}), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
