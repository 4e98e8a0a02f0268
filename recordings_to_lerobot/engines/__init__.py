"""Conversions that are spread over many machines."""
