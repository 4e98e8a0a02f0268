"""Converts a folder of recordings: prepares every episode by itself, then writes the dataset from what is ready."""

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from tqdm import tqdm

from recordings_to_lerobot.action_schema import KEY_CODES, KeyCodes, channel_names
from recordings_to_lerobot.dataset_layout import QUARANTINE_FILE, write_json_lines
from recordings_to_lerobot.existing import ExistingDataset, read_existing
from recordings_to_lerobot.options import ConvertConfig, LabelOptions
from recordings_to_lerobot.planning import (
    VideoFormat,
    choose_format,
    common_layout,
    disagreement,
    why_not_copied,
)
from recordings_to_lerobot.preparation import Job, Outline, Preparation, encode_episode, prepare
from recordings_to_lerobot.recording import VIDEO_FILE, find_episodes
from recordings_to_lerobot.splits import assign_splits, check_shares
from recordings_to_lerobot.staging import Workplace
from recordings_to_lerobot.validation import RecordingError
from recordings_to_lerobot.vocabulary import read_key_codes
from recordings_to_lerobot.workers import run_in_processes


@dataclass
class Plan:
    """What is written, and what is left out and why."""

    outlines: list[Outline] = field(default_factory=list)
    already_there: int = 0
    problems: dict[Path, tuple[str, ...]] = field(default_factory=dict)  # by folder: why it is left out
    video_format: VideoFormat | None = None  # of all videos; None: LeRobot's default
    not_copied: dict[Path, str] = field(default_factory=dict)  # by folder: why its video is encoded, not copied

    def refuse(self, folder: Path, problems: Iterable[str]) -> None:
        """Leaves a recording out."""
        self.problems[folder] = tuple(problems)
        self.outlines = [outline for outline in self.outlines if outline.folder != folder]

    def check(self, strict: bool) -> None:
        """Raises RecordingError if nothing is left, or with `strict` if anything was left out."""
        if self.problems and (strict or (not self.outlines and not self.already_there)):
            raise RecordingError(*(problem for problems in self.problems.values() for problem in problems))


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion wrote, or would write in a dry run."""

    root: Path
    plan: Plan
    splits: Counter[str]  # number of episodes
    read_ms: float | None  # what it takes to read a picture at random; None if nothing was written
    seconds: float


def convert(config: ConvertConfig) -> ConvertSummary:
    """Converts the recordings that are not in the dataset yet; the dataset changes at once, when all is done.

    Raises:
        RecordingError: A setting is wrong, nothing can be converted, or with `strict` not everything can.
    """
    started_s = time.monotonic()
    root = _output_root(config)
    check_shares(config.splits)
    key_codes = read_key_codes(config.keys) if config.keys else KEY_CODES
    folders = find_episodes(config.input)
    place = Workplace(root)
    with place.occupy():
        existing = read_existing(root, _recorded_options(config, key_codes), config.splits)
        if config.dry_run:
            with tempfile.TemporaryDirectory() as work:
                plan = _make_plan(folders, config, key_codes, existing, Path(work))
        else:
            plan = _make_plan(folders, config, key_codes, existing, place.folder)
        plan.check(config.strict)
        read_ms = None
        if plan.outlines and not config.dry_run:
            read_ms = _write(plan, config, key_codes, existing, place)
        splits = Counter(_splits(plan.outlines, config))
    return ConvertSummary(root, plan, splits, read_ms, time.monotonic() - started_s)


def _make_plan(
    folders: Sequence[Path], config: ConvertConfig, key_codes: KeyCodes, existing: ExistingDataset | None, work: Path
) -> Plan:
    options = LabelOptions(**{option.name: getattr(config, option.name) for option in fields(LabelOptions)})
    common = Preparation(config.input, options, key_codes, config.task, work, find_idle=config.dry_run)
    plan = Plan()
    outlines: dict[Path, Outline] = {}
    known = existing.identities if existing else {}
    jobs = [Job(folder, known.get(folder.relative_to(config.input).as_posix(), frozenset())) for folder in folders]
    with tqdm(total=len(jobs), unit="episode", desc="Reading", leave=False) as progress:
        for job, result in run_in_processes(functools.partial(prepare, common=common), jobs, config.workers):
            progress.update()
            if isinstance(result, RecordingError):
                plan.refuse(job.folder, result.problems)
            elif result is None:
                plan.already_there += 1
            else:
                outlines[job.folder] = result
    # They finish in any order, and a dataset has its episodes in the order of their folders.
    plan.problems = {folder: plan.problems[folder] for folder in folders if folder in plan.problems}
    plan.outlines = [outlines[folder] for folder in folders if folder in outlines]
    if plan.outlines:
        fps, size_px = (existing.fps, existing.size_px) if existing else common_layout(plan.outlines)
        for outline in list(plan.outlines):
            if problems := disagreement(outline, fps, size_px):
                plan.refuse(outline.folder, problems)
    plan.video_format = existing.video if existing else choose_format(plan.outlines, config.video)
    for outline in list(plan.outlines):
        if reason := why_not_copied(outline, config.video, plan.video_format):
            plan.not_copied[outline.folder] = reason
            if config.video == "copy":
                problem = f"{outline.folder / VIDEO_FILE}: cannot be copied: {reason}; pass --video=auto"
                plan.refuse(outline.folder, [problem])
    return plan


def _write(
    plan: Plan, config: ConvertConfig, key_codes: KeyCodes, existing: ExistingDataset | None, place: Workplace
) -> float:
    """Writes what is planned; returns the milliseconds it takes to read a picture of the dataset."""
    # Not before the inputs are known to be good: these imports take seconds.
    from recordings_to_lerobot.assembly import Entry, assemble, measure_read_ms, open_draft
    from recordings_to_lerobot.dataset_writer import encoder_config, encoder_settings

    first = plan.outlines[0]
    encoder = encoder_config(plan.video_format, first.size_px)
    encode = functools.partial(encode_episode, settings=encoder_settings(encoder))
    to_encode = [outline for outline in plan.outlines if outline.folder in plan.not_copied]
    videos = {outline.folder: (outline.folder / VIDEO_FILE, outline.facts) for outline in plan.outlines}
    with tqdm(total=sum(o.n_rows for o in to_encode), unit="frame", desc="Encoding", leave=False) as progress:
        for outline, result in run_in_processes(encode, to_encode, config.workers):
            progress.update(outline.n_rows)
            if isinstance(result, RecordingError):
                plan.refuse(outline.folder, result.problems)
            else:
                videos[outline.folder] = result
    plan.check(config.strict)

    entries = [
        Entry(outline, *videos[outline.folder], is_copied=outline.folder not in plan.not_copied, split=split)
        for outline, split in zip(plan.outlines, _splits(plan.outlines, config), strict=True)
    ]
    entries.sort(key=lambda entry: [*config.splits].index(entry.split) if config.splits else 0)
    if existing:
        place.copy_to_draft()
    channels = channel_names(config.mouse, key_codes)
    meta = open_draft(place.draft, config.repo_id, first.fps, first.size_px, channels)
    with tqdm(total=len(entries), unit="episode", desc="Writing", leave=False) as progress:
        for _ in assemble(meta, entries, _recorded_options(config, key_codes), encoder if to_encode else None):
            progress.update()
    quarantine = [
        {
            "source": folder.relative_to(config.input).as_posix(),
            # Without the path that only this machine knows.
            "problems": [problem.replace(f"{config.input}/", "") for problem in problems],
        }
        for folder, problems in plan.problems.items()
    ]
    write_json_lines(place.draft / QUARANTINE_FILE, quarantine)
    read_ms = measure_read_ms(meta)
    place.publish_draft()
    return read_ms


def _splits(outlines: Sequence[Outline], config: ConvertConfig) -> list[str]:
    if not config.splits:
        return ["train"] * len(outlines)
    sessions = [outline.session or outline.source for outline in outlines]
    return assign_splits(sessions, config.splits, config.seed)


def _recorded_options(config: ConvertConfig, key_codes: KeyCodes) -> dict:
    """The options that decided the rows and labels, as the dataset keeps them."""
    options = {option.name: getattr(config, option.name) for option in fields(LabelOptions)}
    # Not its path: that of the machine which converted says nothing to the one which reads.
    return {**options, "keys": {name: list(codes) for name, codes in key_codes.items()} if config.keys else None}


def _output_root(config: ConvertConfig) -> Path:
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(config.repo_id)
    except ValueError as error:
        raise RecordingError(f"--repo_id={config.repo_id}: {error}; give it as USER/NAME") from None
    root = config.root
    if root is None:
        from lerobot.utils.constants import HF_LEROBOT_HOME

        root = HF_LEROBOT_HOME / config.repo_id
    return root.absolute()
