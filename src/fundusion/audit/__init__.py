"""Looking at data before time is spent on them: duplicates, leaks, contradictions, eyes that were exchanged.

This is a room of its own because it stands above most of the others: it reads files (`readers`), normalises them
(`transforms`), uses the workers of `batch`, knows what a shipped model was trained on (`shipped`) and writes a page with the
templates of `report`. None of them may know it; only `cli` is above.
"""
