"""What Pairloop's speed and quality are, measured beside what a user would do instead."""
