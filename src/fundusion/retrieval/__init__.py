"""Vectors of pictures and reports on disk, found again by similarity: format, scan, approximate index, conditions, queries."""
