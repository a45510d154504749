"""`python -m coupled` is `coupled-run`: what torchrun starts."""

import sys

from coupled.cli import main

sys.exit(main())
