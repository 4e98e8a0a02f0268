"""What lerobot-train 0.6 lacks: gradient accumulation, averaged weights, whole batches, a run's best checkpoint."""
