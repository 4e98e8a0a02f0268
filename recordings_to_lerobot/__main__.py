"""`python -m recordings_to_lerobot` is the command `recordings-to-lerobot`."""

import sys

from recordings_to_lerobot.cli import main

if __name__ == "__main__":
    sys.exit(main())
