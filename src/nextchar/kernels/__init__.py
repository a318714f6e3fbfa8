"""The compiled step: packed weights and a numba loop over one stream, free of torch."""
