"""`python -m console` is `millrace`."""

import sys

from console.cli import main

sys.exit(main())
