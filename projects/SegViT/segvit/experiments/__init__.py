"""Series of runs that are compared: the papers' ablations and encoders side by side."""
