"""A title."""
