"""Scripted players: what they can see, and how each kind of task is played by someone who knows no more than that."""
