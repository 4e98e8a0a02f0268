"""`qwenvla-card`: writes the card of a checkpoint, with the results that lie in its folder.

lerobot-eval --policy.path=CHECKPOINT --output_dir=CHECKPOINT/evaluation/OneRoom --env.type=miniworld ...
qwenvla-card --checkpoint=CHECKPOINT
hf upload USER/POLICY CHECKPOINT
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import draccus
from draccus.utils import DraccusException
from lerobot.configs import PreTrainedConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.utils import INFO_PATH

from lerobot_qwenvla.evaluation.loading import read_training
from lerobot_qwenvla.evaluation.success import read_successes, wilson_interval
from lerobot_qwenvla.policy.configuration_qwenvla import QwenVLAConfig
from lerobot_qwenvla.policy.hub.card import Result, make_card


@dataclass
class CardConfig:
    # The pretrained_model folder of a checkpoint.
    checkpoint: Path
    # Where it will be on the Hub: USER/POLICY.
    repo_id: str | None = None


def write_card(config: CardConfig) -> Path:
    """Writes README.md to the folder of the checkpoint, and returns its path.

    Raises:
        ValueError: It is no checkpoint of a training run of this policy, or a result in it can't be read.
    """
    training = read_training(config.checkpoint)
    policy = PreTrainedConfig.from_pretrained(config.checkpoint)
    if not isinstance(policy, QwenVLAConfig):
        raise ValueError(f"{config.checkpoint}: a {policy.type} policy, not a qwenvla one")
    policy.repo_id = config.repo_id or policy.repo_id
    data = training.dataset
    meta = None
    if data.root and (Path(data.root) / INFO_PATH).is_file():
        meta = LeRobotDatasetMetadata(data.repo_id, root=data.root)
    path = config.checkpoint / "README.md"
    path.write_text(str(make_card(policy, data.repo_id, training, meta, read_results(config.checkpoint))), "utf-8")
    return path


def read_results(checkpoint: Path) -> list[Result]:
    """What every lerobot-eval run in the folder found, called as its own folder.

    Raises:
        ValueError: A file is not as lerobot-eval writes it.
    """
    results = []
    for path in sorted(checkpoint.rglob("eval_info.json")):
        try:
            successes = read_successes(path.parent)
            rate = sum(successes) / len(successes)
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise ValueError(
                f"{path}: not as lerobot-eval writes it ({error!r}); evaluate again or remove it"
            ) from error
        results.append(Result(path.parent.name, rate, wilson_interval(sum(successes), len(successes)), len(successes)))
    return results


def main() -> None:
    try:
        print(write_card(draccus.parse(CardConfig, prog="qwenvla-card")))
    except (ValueError, OSError, DraccusException) as error:
        sys.exit(f"qwenvla-card: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
