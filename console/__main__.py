"""`python -m millrace.console` is `millrace`."""

import sys

from millrace.console.cli.commands import main

sys.exit(main())
