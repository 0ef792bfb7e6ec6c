"""`python -m millrace.console` is `millrace`."""

import sys

from millrace.console.cli import main

sys.exit(main())
