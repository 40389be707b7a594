"""TALK TO A DATABASE: one module for each kind, found by folder."""
