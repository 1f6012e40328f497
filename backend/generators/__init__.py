"""Engines that write answers: the local model, an OpenAI-compatible server, an echo; and the scheduler that feeds them."""
