"""Measuring: exact scores under named protocols, and the n-gram baseline in the same units."""
