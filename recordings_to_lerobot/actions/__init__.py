"""The mouse-and-keyboard vector: its channels, its keys, its values."""
