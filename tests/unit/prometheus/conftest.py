"""The fakes of the lifecycle layer are what Prometheus is told of here."""

import sys
from pathlib import Path

# Last, or the conftest module of that folder would be found in place of this one.
sys.path.append(str(Path(__file__).parents[1] / "lifecycle"))
