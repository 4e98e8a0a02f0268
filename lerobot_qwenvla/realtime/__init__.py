"""How much a policy loses in a world that does not wait, by the way in which it is run."""
