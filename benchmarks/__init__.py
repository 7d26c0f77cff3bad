"""What this project costs, beside what people would pick instead: `make bench`, or `python -m benchmarks`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / "build" / "benchmarks"
"""Made-up data, environments of the contestants, and raw figures: all of it can be thrown away."""

# Scripts are run by path, and import each other so.
sys.path.insert(0, str(ROOT / "scripts"))
