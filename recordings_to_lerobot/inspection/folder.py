"""Looks into every recording of a folder; those that are bad are reported and stop nothing."""

import functools
from pathlib import Path

from tqdm import tqdm

from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.importers.formats import FormatChoice, find_recordings
from recordings_to_lerobot.inspection.clock_offset import estimate_offset
from recordings_to_lerobot.inspection.episode import FolderInspection, Inspection
from recordings_to_lerobot.inspection.summary import inspect_recording, source_of
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.workers import run_in_processes


def inspect_folder(
    input_dir: Path,
    options: LabelOptions,
    key_codes: KeyCodes,
    workers: int | None = None,
    format_: FormatChoice = "auto",
) -> FolderInspection:
    """Inspects all recordings at or below a folder, several at a time.

    Raises:
        RecordingError: There is no recording at all.
    """
    folders = find_recordings(input_dir, format_)
    inspect = functools.partial(inspect_recording, input_dir=input_dir, options=options, key_codes=key_codes)
    results: dict[Path, Inspection | RecordingError] = {}
    with tqdm(total=len(folders), unit="episode", desc="Inspecting", leave=False) as progress:
        for folder, result in run_in_processes(inspect, folders, workers):
            results[folder] = result
            progress.update()
    inspections, problems = [], {}
    # They finish in any order.
    for folder in folders:
        result = results[folder]
        if isinstance(result, RecordingError):
            problems[source_of(folder, input_dir)] = tuple(
                problem.replace(f"{input_dir}/", "") for problem in result.problems
            )
        else:
            inspections.append(result)
    offset = estimate_offset([inspection.traces.evidence for inspection in inspections])
    return FolderInspection(input_dir.resolve().name, tuple(inspections), problems, offset)
