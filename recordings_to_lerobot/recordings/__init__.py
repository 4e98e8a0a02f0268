"""Recordings as a recorder wrote them: found, read and checked."""
