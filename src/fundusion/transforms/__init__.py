"""Geometry, preparation and augmentation: from the pixels of a study to arrays a network reads."""
