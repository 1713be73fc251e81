"""Shared building blocks of networks."""
