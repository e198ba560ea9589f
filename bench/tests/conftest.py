"""Let the tests import what they test: the benchmarks are programs, and no package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
