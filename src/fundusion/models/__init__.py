"""Encoders by name. One file per family; see `fundusion models`."""
