"""How the backend is doing, in figures that Prometheus reads."""
