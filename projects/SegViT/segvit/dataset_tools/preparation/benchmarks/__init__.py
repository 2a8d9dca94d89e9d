"""The distributions of benchmarks: which files they have, and which raw id is which class."""
