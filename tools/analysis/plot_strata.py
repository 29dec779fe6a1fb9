#!/usr/bin/env python
"""Draw how S-OHEM moved in a training: weights, strata, shares of duplicates and losses.

Example:
    python tools/analysis/plot_strata.py work_dirs/my_training --out strata.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmtextplug.visualization.strata import plot_strata


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dir", type=Path, help="of a training with StratifiedOHEMHook")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write")
    args = parser.parse_args(argv)
    try:
        plot_strata(args.work_dir, args.out)
    except (OSError, ValueError) as error:
        raise SystemExit(f"plot_strata: {error}") from error
    print(args.out)


if __name__ == "__main__":
    main()
