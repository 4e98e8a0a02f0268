"""From a folder of recordings to a dataset: each episode by itself, then the plan, then the dataset."""
