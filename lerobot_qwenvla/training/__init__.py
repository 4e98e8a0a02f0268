"""What lerobot-train 0.6 lacks: gradient accumulation, averaged weights, and the best of a run's checkpoints."""
