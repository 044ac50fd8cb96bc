"""One training run: settings, folder, loop, checkpoints, logs, interrupts, progress."""
