"""Text: sources, vocabulary, corpora with their cache, named corpora, and batches."""
