"""TELL PEOPLE: everyone here hears events."""
