"""Calls of ``.labels``, each in a file of its own, and what they share."""
