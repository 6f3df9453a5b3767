"""Behaviours that nobody has named yet, found among the corrections."""
