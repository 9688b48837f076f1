"""``python -m spiped``: the daemon."""

import sys

from spiped.cli import main

sys.exit(main())
