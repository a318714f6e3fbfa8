"""From files to ids: vocabulary, sources, corpus with its cache, lanes, and the named corpora."""
