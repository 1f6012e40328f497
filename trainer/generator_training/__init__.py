"""The training of a generator alone: texts that were read once, adapters on the top layers, losses, steps; and TRL for rewards."""
