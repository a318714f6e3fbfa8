"""Models of other programs, which find them by entry points; nothing here is imported unless they ask for it."""
