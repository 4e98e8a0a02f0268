"""Miniworld played with mouse and keyboard."""
