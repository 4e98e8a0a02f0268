"""`recordings-to-lerobot verify`"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recordings_to_lerobot.importers.formats import FormatChoice
from recordings_to_lerobot.verification.dataset import verify


@dataclass(kw_only=True)
class VerifyConfig:
    """Compare every row of a dataset with the recordings it was made from; the exit code is 0 if all is right."""

    # Folder with the recordings, as it was given to convert
    input: Path
    # Folder of the dataset
    root: Path
    # Which recorder's files to take, as it was given to convert
    format: FormatChoice = "auto"
    # Look into so many episodes only, spread evenly over the dataset
    episodes: int | None = None
    # Least PSNR of the pictures of an encoded episode to the frames they show, over all of them, in dB
    min_psnr_db: float = 30.0
    # How many processes work on episodes at a time; as many as there are cores if not given
    workers: int | None = None

    def __post_init__(self):
        # Shells leave the tilde alone behind an equals sign.
        self.input = self.input.expanduser()
        self.root = self.root.expanduser()


def run(config: VerifyConfig) -> int:
    """Verifies, and says what was checked and what is wrong."""
    findings = verify(config.input, config.root, config.episodes, config.min_psnr_db, config.workers, config.format)
    for line in findings.lines:
        print(line, file=sys.stderr)
    table = Table("check", "passed", "failed", "worst", title=escape(f"Verified {config.root}"))
    for check in [*findings.passed, *(findings.failed - findings.passed)]:
        failed = findings.failed[check]
        _, worst = findings.worst.get(check, (0, ""))
        table.add_row(check, f"{findings.passed[check]:,}", f"{failed:,}", worst, style="red" if failed else None)
    Console().print(table)
    return 1 if findings.failed.total() else 0
