"""A converted dataset: what it holds where, and how episodes are appended."""
