"""Comparisons of training runs: ablations over seeds, and encoders under one config."""
