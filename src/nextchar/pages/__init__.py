"""Pages: one stylesheet, one set of modules, and how they become a file or are served."""
