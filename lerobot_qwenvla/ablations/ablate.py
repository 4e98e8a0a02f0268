"""`qwenvla-ablate`: trains and evaluates variants of a policy on equal terms, and makes one table of what they reach.

    qwenvla-ablate --config_path=configs/ablations/cpu.yaml

Every variant is trained once with the first seed, then with the next: after each run the table in the output folder,
as Markdown and JSON, has all there is. What is done is not done again; a variant that fails is named, the rest goes on.
"""

import sys

import draccus
from draccus.utils import DraccusException

from lerobot_qwenvla.ablations.options import AblationConfig
from lerobot_qwenvla.ablations.results import Row, Run, markdown, write_results
from lerobot_qwenvla.ablations.variants import Variant, read_variants, stages
from lerobot_qwenvla.demo.runner import CommandError, run_stages
from lerobot_qwenvla.demo.stages import recorded
from lerobot_qwenvla.evaluation.success import read_successes
from lerobot_qwenvla.miniworld.tasks import find_task


def ablate(config: AblationConfig) -> list[Row]:
    """Makes the table, and returns its rows.

    Raises:
        ValueError: An option or a variant is wrong, nothing could be recorded, or another run is at work in the folder.
    """
    variants = read_variants(config)
    _check(config, variants)
    run_stages(recorded(config), config.output_dir)
    facts = {
        "task": config.task,
        "recorded_episodes": config.episodes,
        "first_eval_seed": config.eval_first_seed,
        "eval_episodes": config.eval_episodes,
    }
    rows = {variant.name: Row(variant.name) for variant in variants if variant.name in (config.only or config.variants)}
    for seed in range(config.seed, config.seed + config.seeds):
        for variant in variants:
            row = rows.get(variant.name)
            if row is None or row.failed:
                continue
            try:
                row.runs.append(_run(config, variant, seed))
            except CommandError as error:
                row.failed = f"seed {seed}: {' '.join(str(error).splitlines()[-2:])}"
                print(f"{variant.name} failed: {row.failed}", flush=True)
            write_results(list(rows.values()), facts, config.output_dir / config.table)
    return list(rows.values())


def _run(config: AblationConfig, variant: Variant, seed: int) -> Run:
    print(f"\n{variant.name}, seed {seed}", flush=True)
    successes, train_seconds = {}, 0.0
    for variation in config.variations:
        *_, training, evaluation = each = stages(config, variant, seed, variation)
        train_seconds = run_stages(each, config.output_dir)[training.name]
        successes[variation] = read_successes(evaluation.output)
    return Run(seed, train_seconds, successes)


def _check(config: AblationConfig, variants: list[Variant]) -> None:
    names = [variant.name for variant in variants]
    if unknown := sorted(set(config.only or []) - set(names)):
        raise ValueError(f"--only: no variant {', '.join(unknown)}; there are {', '.join(names)}")
    if config.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {config.seeds}")
    if not config.variations:
        raise ValueError("--variations: pass at least one, such as [recorded]")
    for variation in config.variations:
        find_task(config.task, variation)
    if config.eval_first_seed < config.episodes:
        raise ValueError(f"--eval_first_seed={config.eval_first_seed} is among the {config.episodes} recorded seeds")


def main() -> None:
    try:
        config = draccus.parse(AblationConfig, prog="qwenvla-ablate")
        rows = ablate(config)
    except (ValueError, DraccusException) as error:
        sys.exit(f"qwenvla-ablate: {error}")
    except KeyboardInterrupt:
        sys.exit("\nqwenvla-ablate: interrupted; the same command goes on where it stopped")
    print(f"\n{markdown(rows)}")
    if any(row.failed for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
