"""Pre-trained weights: read files, recognize their layout, load them into an encoder; official checkpoints."""
