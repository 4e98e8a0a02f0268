"""Looks into recordings before they are converted: what is in them, and whether it fits together."""
