"""The dashboard at `/`: what it shows and what its buttons do."""
