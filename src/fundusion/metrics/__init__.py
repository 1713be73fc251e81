"""Numbers about predictions: pure numpy functions, no state. What is not defined says why instead of being NaN."""
