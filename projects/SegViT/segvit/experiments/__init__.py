"""Comparisons of training runs: ablations and heads over seeds, encoders under one config, groups left out."""
