"""Sequences of records: one file per data set."""
