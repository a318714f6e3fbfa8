"""Writing: filters over the next character's distribution, the engine that steps, and text around it."""
