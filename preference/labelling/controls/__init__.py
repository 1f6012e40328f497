"""The tags by which people judge: what each can say, and what that means."""
