"""Put the plugins of these tests on the import path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
