"""Takes the name of the package."""
