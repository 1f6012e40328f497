"""Language models: loading them, encoding texts for them, and what they do when memory ends."""
