"""Turns mouse-and-keyboard screen recordings into a LeRobotDataset."""
