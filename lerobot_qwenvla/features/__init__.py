"""Frozen features of a whole dataset: computed once, read by row while training."""
