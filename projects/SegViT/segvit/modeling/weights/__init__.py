"""Pre-trained weights: reading files, recognizing their layout, loading them into an encoder."""
