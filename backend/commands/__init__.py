"""What the backend's command line does that is more than one call."""
