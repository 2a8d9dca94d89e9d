"""The steps of continual segmentation: running them, calibrating new groups, and the report."""
