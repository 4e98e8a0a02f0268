"""What the backbone reads before a picture where nobody says what to do."""

DEFAULT_INSTRUCTION = "Do what comes next."
