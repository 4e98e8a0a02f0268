"""`recordings-to-lerobot inspect`"""

from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console

from recordings_to_lerobot.actions.vocabulary import KEY_CODES
from recordings_to_lerobot.alignment.options import LabelOptions, check_options
from recordings_to_lerobot.importers.formats import FormatChoice
from recordings_to_lerobot.inspection.folder import inspect_folder
from recordings_to_lerobot.inspection.output import REPORT_FILE, check_output, write_output
from recordings_to_lerobot.inspection.terminal import render
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.recordings.vocabulary_file import read_key_codes

_EXIT_PROBLEMS = 1


@dataclass(kw_only=True)
class InspectConfig(LabelOptions):
    """Look into recordings before converting them; nothing is changed."""

    # Folder with the recordings, at any depth
    input: Path
    # Which recorder's files to take; those of all it knows if not given
    format: FormatChoice = "auto"
    # Folder to write report.html, episodes.json and overlay videos to; only a table in the terminal if not given.
    # An earlier report there is replaced
    output: Path | None = None
    # How many overlay videos to write, each of at most two minutes
    overlays: int = 3
    # How many processes work on episodes at a time; as many as there are cores if not given
    workers: int | None = None

    def __post_init__(self):
        # Shells leave the tilde alone behind an equals sign.
        self.input = self.input.expanduser()
        self.output = self.output and self.output.expanduser()
        self.keys = self.keys and self.keys.expanduser()


def run(config: InspectConfig) -> int:
    """Shows what is in the recordings; the exit code is 0, or 1 if some of them cannot be converted.

    Raises:
        RecordingError: There are none at all, or a setting is wrong.
    """
    check_options(config)
    if config.overlays < 0:
        raise RecordingError(f"--overlays={config.overlays}: give 0 or more")
    if config.output:
        check_output(config.output)
    key_codes = read_key_codes(config.keys) if config.keys else KEY_CODES
    options = LabelOptions(**{field.name: getattr(config, field.name) for field in fields(LabelOptions)})
    folder = inspect_folder(config.input, options, key_codes, config.workers, config.format)
    console = Console()
    console.print(render(folder, console.width))
    if config.output:
        write_output(config.output, folder, options, key_codes, config.overlays, config.workers)
        console.print(f"Report: {config.output / REPORT_FILE}", soft_wrap=True, markup=False, highlight=False)
    return _EXIT_PROBLEMS if folder.problems else 0
