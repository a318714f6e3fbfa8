"""Features of texts: one label per character, such as whether it is inside quotes, and what each is called in words."""
