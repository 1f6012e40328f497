"""Engines that write answers: the local model (preference/generation), an OpenAI-compatible server, an echo; and the scheduler."""
