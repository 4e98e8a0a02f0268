"""Miniworld as a LeRobot robot: it does not wait for whoever plays."""
