"""What Label Studio sends and gets: bodies, their description, and the limit on training requests."""
