"""Serving: one scheduler steps the texts of all requests together, behind an HTTP interface that OpenAI's clients know."""
