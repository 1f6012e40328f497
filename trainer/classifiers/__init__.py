"""A version as a classifier that programs without Pairloop load: the weights, the chat template, the card, and what it is worth."""
