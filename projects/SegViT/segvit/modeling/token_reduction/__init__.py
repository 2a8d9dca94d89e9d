"""Shrunk and Shrunk++: which tokens an encoder keeps, and how a map is restored from them."""
