"""Predicted beside recorded actions: the command `qwenvla-evaluate`."""
