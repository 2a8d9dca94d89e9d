"""Configs: keys with defaults and checks, YAML files, devices, and the step of a continual config."""
