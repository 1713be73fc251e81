"""Features of several modalities and their presence -> one answer. One file per method."""
