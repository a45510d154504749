"""`python -m analysis` is `coupled-analyze`."""

import sys

from analysis.cli import main

sys.exit(main())
