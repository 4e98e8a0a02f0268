"""How a dataset says which of its columns point to precomputed features, and what those are features of.

A feature dataset is a LeRobotDataset whose cameras were replaced: instead of the video `observation.images.screen` it
has an int64 column `observation.features.screen`, which points into a table beside it. LeRobot's own delta timestamps
thus choose the frames of a sample, and no video is decoded. The column's `info` says what the features depend on.
"""

from typing import Any

from lerobot.utils.constants import OBS_IMAGES, OBS_PREFIX

from lerobot_qwenvla.backbone import BackboneSettings

COLUMN_PREFIX = f"{OBS_PREFIX}features."


def column_of_camera(camera: str) -> str:
    """`observation.images.screen` → `observation.features.screen`."""
    return COLUMN_PREFIX + camera.removeprefix(f"{OBS_IMAGES}.")


def feature_columns(dataset_features: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a dataset says of its precomputed features, by camera; other columns, whatever their names, are not ours."""
    return {
        f"{OBS_IMAGES}.{column.removeprefix(COLUMN_PREFIX)}": feature["info"]
        for column, feature in dataset_features.items()
        if column.startswith(COLUMN_PREFIX) and "image_shape" in (feature.get("info") or {})
    }


def feature_identity(settings: BackboneSettings, frame_offsets: list[int]) -> dict[str, Any]:
    """What must be equal for features to be the same; where frames are encoded together, also which."""
    together = {"frame_offsets": frame_offsets} if settings.frame_encoding == "joint" else {}
    return {**settings.identity(), **together}


def check_identity(camera: str, computed_with: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compares what features were computed with, and what a policy has.

    Raises:
        ValueError: They differ.
    """
    for name, value in wanted.items():
        if name not in computed_with:
            raise ValueError(f"the features of {camera} do not say their {name}; run qwenvla-precompute-features again")
        if (got := computed_with[name]) != value:
            remedy = "other num_frames or frame_skip" if name == "frame_offsets" else f"--policy.{name}={got}"
            raise ValueError(
                f"the features of {camera} were computed with {name}={got!r}, but the policy has {value!r}; "
                f"pass {remedy} or run qwenvla-precompute-features again"
            )
