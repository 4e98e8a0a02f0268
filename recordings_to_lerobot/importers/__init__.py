"""Other recorders' files, read as recordings: nothing is copied, and what had to be repaired is counted."""
