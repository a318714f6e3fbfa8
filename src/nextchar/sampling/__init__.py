"""Writing: the engine that lets lanes step and choose side by side, and text around it."""
