"""Choosing examples: what is dropped and why, near-duplicates, contamination, diverse sampling."""
