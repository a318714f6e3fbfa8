"""Structure of generated text: samples are parsed with real parsers of their domain and compared with real text."""
