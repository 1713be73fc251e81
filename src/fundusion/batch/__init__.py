"""Many studies on one machine, nothing finished lost."""
