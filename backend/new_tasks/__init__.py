"""Tasks that Pairloop makes of what people say: new answers, and prompts of their own."""
