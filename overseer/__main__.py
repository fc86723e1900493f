"""``python -m overseer``: the same as ``overseer``."""

import sys

from overseer.cli import main

sys.exit(main())
