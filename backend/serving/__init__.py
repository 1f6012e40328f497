"""One serving process: its projects, its models, and the requests that it answers."""
