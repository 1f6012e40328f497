"""Tasks that Pairloop makes of what people say: new answers, prompts of their own, and comparisons that come back."""
