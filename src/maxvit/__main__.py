"""`python -m maxvit` is the command `maxvit`."""

import sys

from maxvit.cli import main

if __name__ == "__main__":
    sys.exit(main())
