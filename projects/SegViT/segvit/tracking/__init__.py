"""Tracking of training runs in Weights & Biases, MLflow or Trackio, by the config key TRACKING.TO."""
