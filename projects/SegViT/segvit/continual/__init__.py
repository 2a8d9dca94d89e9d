"""Continual segmentation: run the steps of a protocol, calibrate new groups, report what was kept and gained."""
