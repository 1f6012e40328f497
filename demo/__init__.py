"""The whole loop on this machine: a real Label Studio, the backend, the trainer, and a scripted annotator."""
