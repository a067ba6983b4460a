"""``python -m memplan.clients.cli`` is ``plan``."""

import sys

from memplan.clients.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
