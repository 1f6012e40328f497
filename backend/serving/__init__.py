"""One serving process: its projects, its models, and what it answers to /predict."""
