"""The layers and encoders in other people's frameworks. Each module needs an extra and is imported by its name."""
