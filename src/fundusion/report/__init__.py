"""Results -> findings -> pages a person reads."""
