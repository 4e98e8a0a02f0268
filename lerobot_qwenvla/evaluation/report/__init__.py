"""One page about a training run, and the same in its W&B run: the command `qwenvla-report`."""
