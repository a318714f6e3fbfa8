"""Discovery: which unit follows which feature of a text, scored on held-out text, compared with nulls, tested causally."""
