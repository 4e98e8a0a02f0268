"""Frozen features: of a whole dataset, computed once and read by row; of running episodes, remembered by step."""
