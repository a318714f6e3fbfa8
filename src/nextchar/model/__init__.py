"""The mathematics in torch: state, cells, recurrence, regularization, network."""
