"""Whether a picture may be answered: measures, a calibrated score, reasons, and drawn degradations to test it with."""
