"""Calls of ``.instances``, each in a file of its own, and what they share."""
