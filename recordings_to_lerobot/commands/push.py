"""`recordings-to-lerobot push`"""

from dataclasses import dataclass
from pathlib import Path

from recordings_to_lerobot.dataset.records import read_records
from recordings_to_lerobot.recordings.validation import RecordingError


@dataclass(kw_only=True)
class PushConfig:
    """Upload a dataset to the Hugging Face Hub, with a card that says what it holds.

    Log in first, with `hf auth login`.
    """

    # Folder of the dataset
    root: Path
    # Name of the dataset on the Hub, USER/NAME
    repo_id: str
    # Make a new one visible to its owner only
    private: bool = False
    # Licence that the card states, as the Hub abbreviates it: cc-by-4.0, apache-2.0, ...
    license: str | None = None

    def __post_init__(self):
        self.root = self.root.expanduser()


def run(config: PushConfig) -> int:
    """Uploads and says where to.

    Raises:
        RecordingError: There is no dataset, the Hub cannot be reached, or it refuses.
    """
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(config.repo_id)
    except ValueError as error:
        raise RecordingError(f"--repo_id={config.repo_id}: {error}; give it as USER/NAME") from None
    records = read_records(config.root)

    import httpx
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.datasets.utils import create_lerobot_dataset_card

    from recordings_to_lerobot.dataset.card import card_arguments

    dataset = LeRobotDataset(config.repo_id, root=config.root, video_backend="pyav")
    arguments = card_arguments(dataset.meta, records, config.license)
    try:
        # LeRobot does this too, but behind the upload of everything else, and a licence is easily misspelt.
        create_lerobot_dataset_card(dataset_info=dataset.meta.info, repo_id=config.repo_id, **arguments).validate()
        # A public one is not asked for, so that an organisation's own default holds.
        dataset.push_to_hub(private=config.private or None, **arguments)
    except (httpx.TransportError, ConnectionError) as error:
        problem, remedy = f"the Hub cannot be reached ({_one_line(error)})", "check the network"
    except (httpx.HTTPError, OSError, ValueError) as error:
        problem, remedy = _one_line(error), "check the options and `hf auth whoami`"
    else:
        print(f"https://huggingface.co/datasets/{config.repo_id}")
        return 0
    raise RecordingError(f"{config.repo_id}: not uploaded: {problem}; {remedy}, and run the same command again")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
