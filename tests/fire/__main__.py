"""The table of the doors: `python -m tests.fire --inputs 1250 --seed 0 --doors load features`."""

import argparse

from tests.fire.doors import DOORS
from tests.fire.survey import survey


def main() -> None:
    """Print the table, and below it one traceback for each fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", nargs="*", default=list(DOORS), choices=list(DOORS))
    options = parser.parse_args()
    print("| door | inputs | seed | right results | errors in words | something else, from so many places |")
    print("| --- | --- | --- | --- | --- | --- |")
    faults = {}
    for name in options.doors:
        counts = survey(DOORS[name], options.inputs, options.seed)
        words = ", ".join(f"{kind} {count}" for kind, count in counts.refused.most_common() if kind != "something else")
        other = f"{counts.refused['something else']}, {len(counts.faults)}"
        print(f"| {name} | {counts.inputs} | {options.seed} | {counts.results} | {words} | {other} |", flush=True)
        faults |= {f"{name}: {key}": text for key, text in counts.faults.items()}
    for key, text in faults.items():
        print(f"\n=== {key}\n{text}")


if __name__ == "__main__":
    main()
