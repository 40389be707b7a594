"""READ A FILE: every public module here is a file format, with `SUFFIXES`, `read`, `load` and `template`."""
