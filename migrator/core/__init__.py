"""DECIDES: pure values and functions. No await, no clock, no files, no drivers; only the standard library."""
