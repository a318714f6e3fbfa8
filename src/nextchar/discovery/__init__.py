"""Finding units: what in a text each unit follows, scored on held-out text, against nulls, and tested by intervening."""
