"""`python -m millrace.console` is `millrace`."""

import sys

from millrace.console.cli.main import main

sys.exit(main())
