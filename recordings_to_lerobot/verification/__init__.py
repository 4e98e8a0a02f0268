"""Compares a finished dataset with the recordings it was made from."""
