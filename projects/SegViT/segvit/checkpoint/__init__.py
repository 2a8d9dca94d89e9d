"""Checkpoints: reading, writing them atomically, and resuming a run."""
