"""Benchmarks and generated datasets: their classes, and their registration with Detectron2."""
