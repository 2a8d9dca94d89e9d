"""Hooks of the training loop: evaluation, best checkpoint, EMA, seeding, SIGTERM, progress bar, stopwatch."""
