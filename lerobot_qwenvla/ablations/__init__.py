"""One table of what each setting is worth: the command `qwenvla-ablate`."""
