"""What is compiled, free of torch: one product of blocks of rows, and on it writing, reading and training."""
