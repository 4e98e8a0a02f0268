"""The folder `inspect --output` writes: the report, its numbers, and videos to watch."""

import functools
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recordings_to_lerobot.actions.vocabulary import KeyCodes
from recordings_to_lerobot.alignment.options import LabelOptions
from recordings_to_lerobot.alignment.timeline import NS_PER_S
from recordings_to_lerobot.inspection.episode import FolderInspection, Inspection
from recordings_to_lerobot.inspection.overlay import painted_rows, write_overlay
from recordings_to_lerobot.inspection.report import Filmstrip, render_report
from recordings_to_lerobot.inspection.summary import read_labelled, wanted_idle_mode
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.workers import run_in_processes

REPORT_FILE = "report.html"
NUMBERS_FILE = "episodes.json"
OVERLAYS_FOLDER = "overlays"

_STRIP_PICTURES = 8
# One can watch that much; a recording may be hours long.
MAX_OVERLAY_S = 120


def check_output(output: Path) -> None:
    """Raises RecordingError if there is anything at `output` but an earlier report."""
    ours = {REPORT_FILE, NUMBERS_FILE, OVERLAYS_FOLDER}
    if os.path.lexists(output) and not (output.is_dir() and ours.issuperset(os.listdir(output))):
        raise RecordingError(f"{output}: holds something else than an earlier report; give another --output")


def write_output(
    output: Path,
    folder: FolderInspection,
    options: LabelOptions,
    key_codes: KeyCodes,
    overlays: int,
    workers: int | None,
) -> None:
    """Writes everything to a new folder that appears at `output` when it is complete, in place of an earlier one.

    Raises:
        RecordingError: A recording has changed since it was inspected, or `output` holds something else.
    """
    beside = next(parent for parent in output.absolute().parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.partial-", dir=beside) as staging:
        draft = Path(staging) / "new"
        draft.mkdir()
        videos = _write_overlays(draft, _spread(folder.inspections, overlays), options, key_codes, workers)
        strip = _filmstrip(folder.inspections, options, key_codes)
        page = render_report(folder, options.idle_s, wanted_idle_mode(options), strip, videos)
        (draft / REPORT_FILE).write_text(page, encoding="utf-8")
        (draft / NUMBERS_FILE).write_text(json.dumps(numbers(folder), indent=1, allow_nan=False), encoding="utf-8")
        check_output(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        earlier = Path(staging) / "earlier"
        if output.is_dir():
            os.rename(output, earlier)
        try:
            os.rename(draft, output)
        except BaseException:
            if earlier.is_dir():
                os.rename(earlier, output)
            raise


def numbers(folder: FolderInspection) -> dict:
    """Everything but the traces, as JSON holds it."""
    offset = None
    if folder.offset:
        offset = {name: value for name, value in vars(folder.offset).items() if name != "correlation"}
    return _rounded(
        {
            "totals": asdict(folder.totals),
            "offset": offset,
            "episodes": [asdict(summary) for summary in folder.summaries],
            "problems": folder.problems,
        }
    )


def _rounded(value: object) -> object:
    match value:
        case dict():
            return {key: _rounded(part) for key, part in value.items()}
        case list() | tuple():
            return [_rounded(part) for part in value]
        case float():
            return round(value, 4)
        case _:
            return value


def _spread(inspections: Sequence[Inspection], most: int) -> list[Inspection]:
    """At most so many of them, from the first to the last."""
    picked = np.linspace(0, len(inspections) - 1, min(most, len(inspections))).round().astype(int)
    return [inspections[i] for i in picked]


def _write_overlays(
    draft: Path, inspections: Sequence[Inspection], options: LabelOptions, key_codes: KeyCodes, workers: int | None
) -> dict[str, str]:
    """Writes a video of each recording; returns their paths relative to the draft, by recording."""
    paths = {inspection.folder: f"{OVERLAYS_FOLDER}/{inspection.summary.source}.mp4" for inspection in inspections}
    for path in paths.values():
        (draft / path).parent.mkdir(parents=True, exist_ok=True)
    write = functools.partial(_write_overlay, draft=draft, paths=paths, options=options, key_codes=key_codes)
    with tqdm(total=len(paths), unit="video", desc="Drawing", leave=False) as progress:
        for _, result in run_in_processes(write, list(paths), workers):
            progress.update()
            if isinstance(result, RecordingError):
                raise result
    return {inspection.summary.source: paths[inspection.folder] for inspection in inspections}


def _write_overlay(
    folder: Path, draft: Path, paths: dict[Path, str], options: LabelOptions, key_codes: KeyCodes
) -> None:
    recording, labels = read_labelled(folder, options, key_codes)
    write_overlay(recording, labels, draft / paths[folder], MAX_OVERLAY_S)


def _filmstrip(inspections: Sequence[Inspection], options: LabelOptions, key_codes: KeyCodes) -> Filmstrip | None:
    if not inspections:
        return None
    first = inspections[0]
    recording, labels = read_labelled(first.folder, options, key_codes)
    n_rows = len(labels.timeline)
    rows = np.linspace(0, n_rows - 1, min(_STRIP_PICTURES, n_rows)).round().astype(int)
    time_s = (labels.timeline.start_ns[rows] - labels.timeline.start_ns[0]) / NS_PER_S
    return Filmstrip(first.summary.source, time_s.tolist(), list(painted_rows(recording, labels, rows, True)))
