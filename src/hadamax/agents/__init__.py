"""A trained network that plays: load, evaluate, export, video."""
