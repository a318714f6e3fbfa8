"""Checking structure: samples of a domain, read by that domain's real parsers, beside real text."""
