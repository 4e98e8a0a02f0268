"""Which rows an episode has, with which labels, and what became of everything recorded; pure."""
