"""Layers and encoders in other frameworks. Each module requires an extra and is imported by its name."""
