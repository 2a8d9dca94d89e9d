"""The arguments that all commands share: which model, config overrides, and where results go."""
