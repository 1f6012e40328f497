"""What people say of two generators in duels, how sure that is, and what follows from it."""
