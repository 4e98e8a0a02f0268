"""Mouse and keyboard, apart from any game."""
