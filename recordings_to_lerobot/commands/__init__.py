"""The commands of `recordings-to-lerobot`: a dataclass of options and `run(config) -> exit code` in each module."""
