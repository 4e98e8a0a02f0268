"""Converts a folder of recordings: prepares every episode by itself, then writes the dataset from what is ready."""

import contextlib
import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tqdm import tqdm

from recordings_to_lerobot.actions.vocabulary import KEY_CODES, KeyCodes
from recordings_to_lerobot.alignment.options import LabelOptions, check_options
from recordings_to_lerobot.alignment.relative import measured_scale
from recordings_to_lerobot.conversion.digest_memory import DigestMemory
from recordings_to_lerobot.conversion.episode import Common, Job, encode_episode, prepare
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.plan import Plan, choose_format, common_layout, disagreement, why_not_copied
from recordings_to_lerobot.conversion.plan_entry import PlanEntry
from recordings_to_lerobot.conversion.staging import Workplace
from recordings_to_lerobot.dataset.existing import ExistingDataset, read_existing
from recordings_to_lerobot.dataset.layout import Layout, read_layout, write_layout
from recordings_to_lerobot.dataset.names import QUARANTINE_FILE
from recordings_to_lerobot.dataset.records import read_json_lines, write_json_lines
from recordings_to_lerobot.dataset.splits import assign_splits, check_shares, ranges
from recordings_to_lerobot.importers.formats import find_recordings
from recordings_to_lerobot.recordings.find import key_of
from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.recordings.vocabulary_file import read_key_codes
from recordings_to_lerobot.workers import run_in_processes


@dataclass(frozen=True)
class ConvertSummary:
    """What a conversion wrote, or would write in a dry run."""

    root: Path
    plan: Plan
    splits: dict[str, str]  # ranges of the episodes of a new dataset, in LeRobot's notation
    mouse_scale: float | None  # counts that make 1; None unless --mouse=relative
    read_ms: float | None  # what it takes to read a picture at random; None if none was read
    seconds: float


def convert(config: ConvertConfig) -> ConvertSummary:
    """Converts the recordings that are not in the dataset yet; the dataset changes at once, when all is done.

    Raises:
        RecordingError: A setting is wrong, nothing can be converted, or with `strict` not everything can.
    """
    return convert_shard(config, find_recordings(config.input, config.format))


def convert_shard(config: ConvertConfig, folders: Sequence[Path]) -> ConvertSummary:
    """As `convert`, but only the recordings in these of the folders below `config.input`.

    Raises:
        RecordingError: As `convert`.
    """
    started_s = time.monotonic()
    root = _output_root(config)
    check_shares(config.splits)
    key_codes = read_key_codes(config.keys) if config.keys else KEY_CODES
    check_options(config)
    recorded_options = _recorded_options(config, key_codes)
    place = Workplace(root)
    splits: list[str] = []
    read_ms = None
    with contextlib.ExitStack() as stack:
        if config.dry_run:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            stack.enter_context(place.occupy())
            work = place.folder
        existing = read_existing(root, recorded_options)
        layout = _layout(config, existing)
        memory = DigestMemory(root)
        plan = _make_plan(folders, config, key_codes, existing, layout, work, memory)
        plan.check(config.strict)
        config = replace(config, mouse_scale=_mouse_scale(config, plan, layout))
        if config.dry_run and config.layout and not config.layout.exists():
            write_layout(config.layout, layout or _found_layout(plan, config))
        if existing and plan.entries and (config.splits or existing.has_splits):
            raise RecordingError(
                f"{root}: exists, and adding episodes would break the ranges of its splits; give another --root to "
                "convert everything again"
            )
        if not config.dry_run and plan.entries:
            _encode_and_write(plan, config, key_codes, existing, place, memory)
            read_ms = _measure_read_ms(config.repo_id, root)
        if not config.dry_run and not plan.entries:
            write_quarantine(root, plan, config)
            memory.save(root)
        if not existing:
            splits = sorted(_splits(plan.entries, config), key=_rank(config))
    return ConvertSummary(root, plan, ranges(splits), config.mouse_scale, read_ms, time.monotonic() - started_s)


def _layout(config: ConvertConfig, existing: ExistingDataset | None) -> Layout | None:
    """What the episodes must agree with; None if it is theirs to say."""
    if not config.layout or (config.dry_run and not config.layout.exists()):
        return existing.layout if existing else None
    given = read_layout(config.layout)
    if existing and existing.layout != given:
        raise RecordingError(
            f"{config.layout}: the dataset at --root has {existing.layout}, this is {given}; give another --root to "
            "convert everything again"
        )
    is_relative = config.mouse == "relative"
    if (given.mouse_scale is not None) != is_relative or config.mouse_scale not in (None, given.mouse_scale):
        raise RecordingError(
            f"{config.layout}: mouse_scale is {given.mouse_scale}, which is not of --mouse={config.mouse} "
            f"--mouse_scale={config.mouse_scale}; let a dry run with the same options write another layout"
        )
    return given


def _found_layout(plan: Plan, config: ConvertConfig) -> Layout:
    """That of the recordings."""
    # Imports LeRobot, which takes seconds.
    from recordings_to_lerobot.dataset.writer import default_format

    fps, size_px = common_layout(plan.entries)
    video = plan.video_format or default_format(size_px)
    return Layout(fps, *size_px, video.codec, video.pix_fmt, config.mouse_scale)


def _mouse_scale(config: ConvertConfig, plan: Plan, layout: Layout | None) -> float | None:
    """The counts of a captured mouse that make 1, with --mouse=relative."""
    if config.mouse_scale is None and layout:
        return layout.mouse_scale
    if config.mouse_scale is None and config.mouse == "relative":
        return measured_scale(entry.moves for entry in plan.entries if entry.moves is not None)
    return config.mouse_scale


def _make_plan(
    folders: Sequence[Path],
    config: ConvertConfig,
    key_codes: KeyCodes,
    existing: ExistingDataset | None,
    layout: Layout | None,
    work: Path,
    memory: DigestMemory,
) -> Plan:
    options = LabelOptions(**{option.name: getattr(config, option.name) for option in fields(LabelOptions)})
    # The scale is known when all are prepared.
    options = replace(options, mouse_scale=None)
    common = Common(config.input, options, key_codes, config.task, config.size_px, work, find_idle=config.dry_run)
    plan = Plan()
    entries: dict[Path, PlanEntry] = {}
    known = existing.digests if existing else {}
    keys = {folder: key_of(folder, config.input) for folder in folders}
    unchanged = {folder for folder, key in keys.items() if memory.is_unchanged(key, folder, known.get(key))}
    plan.already_there = len(unchanged)
    # Recordings that lie elsewhere now: --input may be a folder further up.
    moved = Counter(known[key] for key in known.keys() - keys.values())
    jobs = [Job(folder, known.get(keys[folder])) for folder in folders if folder not in unchanged]
    with tqdm(total=len(jobs), unit="episode", desc="Reading", leave=False) as progress:
        for job, result in run_in_processes(functools.partial(prepare, common=common), jobs, config.workers):
            progress.update()
            if isinstance(result, RecordingError):
                plan.refuse(job.folder, result.problems)
            elif result is None:
                plan.already_there += 1
                memory.confirm(keys[job.folder], known[keys[job.folder]])
            elif moved[result.digest]:
                moved[result.digest] -= 1
                plan.already_there += 1
                result.forget()
            else:
                entries[job.folder] = result
                memory.confirm(result.key, result.digest)
    # They finish in any order, and a dataset has its episodes in the order of their folders.
    plan.problems = {folder: plan.problems[folder] for folder in folders if folder in plan.problems}
    plan.entry_of = {folder: entries[folder] for folder in folders if folder in entries}
    if plan.entries:
        fps, size_px = (layout.fps, layout.size_px) if layout else common_layout(plan.entries)
        for entry in plan.entries:
            if problems := disagreement(entry, fps, size_px):
                plan.refuse(entry.folder, problems)
    plan.video_format = layout.video if layout else choose_format(plan.entries, config.video)
    for entry in plan.entries:
        if reason := why_not_copied(entry, config.video, plan.video_format):
            plan.not_copied[entry.folder] = reason
            if config.video == "copy":
                problem = f"{entry.video}: cannot be copied: {reason}; pass --video=auto"
                plan.refuse(entry.folder, [problem])
    return plan


def _encode_and_write(
    plan: Plan,
    config: ConvertConfig,
    key_codes: KeyCodes,
    existing: ExistingDataset | None,
    place: Workplace,
    memory: DigestMemory,
) -> None:
    # Not before the inputs are known to be good: these imports take seconds.
    from recordings_to_lerobot.dataset.assembly import assemble, open_draft
    from recordings_to_lerobot.dataset.episode import NewEpisode
    from recordings_to_lerobot.dataset.writer import encoder_config, encoder_settings

    first = plan.entries[0]
    to_encode = [entry for entry in plan.entries if entry.folder in plan.not_copied]
    encoder = encoder_config(plan.video_format, first.size_px) if to_encode else None
    videos = {entry.folder: (entry.video, entry.facts) for entry in plan.entries}
    if encoder:
        encode = functools.partial(encode_episode, settings=encoder_settings(encoder))
        with tqdm(total=sum(o.n_rows for o in to_encode), unit="frame", desc="Encoding", leave=False) as progress:
            for entry, result in run_in_processes(encode, to_encode, config.workers):
                progress.update(entry.n_rows)
                if isinstance(result, RecordingError):
                    plan.refuse(entry.folder, result.problems)
                else:
                    videos[entry.folder] = result
        plan.check(config.strict)
        if not plan.entries:
            return
    episodes = []
    for entry, split in zip(plan.entries, _splits(plan.entries, config), strict=True):
        video, facts = videos[entry.folder]
        is_copied = entry.folder not in plan.not_copied
        episodes.append(NewEpisode(entry.key, entry.digest, entry.task, entry.path, video, facts, is_copied, split))
    episodes.sort(key=lambda episode: _rank(config)(episode.split))
    if existing:
        place.copy_to_draft()
    channels = config.action_space(key_codes).channels
    meta = open_draft(place.draft, config.repo_id, first.fps, first.size_px, channels)
    with tqdm(total=len(episodes), unit="episode", desc="Writing", leave=False) as progress:
        for _ in assemble(meta, episodes, _recorded_options(config, key_codes), encoder):
            progress.update()
    write_quarantine(place.draft, plan, config)
    memory.save(place.draft)
    place.publish_draft()


def write_quarantine(root: Path, plan: Plan, config: ConvertConfig) -> None:
    """Keeps the reasons of what was left out, without the paths that only this machine knows."""
    entries = [
        {
            "source": key_of(folder, config.input),
            "problems": [problem.replace(f"{config.input}{os.sep}", "") for problem in problems],
        }
        for folder, problems in plan.problems.items()
    ]
    path = root / QUARANTINE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or read_json_lines(path) != entries:
        write_json_lines(path, entries)


def _measure_read_ms(repo_id: str, root: Path) -> float | None:
    import av

    from recordings_to_lerobot.dataset.assembly import measure_read_ms

    try:
        return measure_read_ms(repo_id, root)
    except (av.FFmpegError, ValueError):
        return None  # a damaged picture, which was copied


def _rank(config: ConvertConfig) -> Callable[[str], int]:
    """The place of a split among the others."""
    return [*config.splits, "train"].index


def _splits(entries: Sequence[PlanEntry], config: ConvertConfig) -> list[str]:
    if not config.splits:
        return ["train"] * len(entries)
    sessions = [entry.session or entry.key for entry in entries]
    return assign_splits(sessions, config.splits, config.seed)


def _recorded_options(config: ConvertConfig, key_codes: KeyCodes) -> dict:
    """The options that decided the rows and labels, as the dataset keeps them."""
    options = {option.name: getattr(config, option.name) for option in fields(LabelOptions)}
    options["size"] = config.size
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
