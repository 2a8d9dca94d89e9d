"""EoMT's way of segmenting as a head of the head comparison: queries in the encoder's last blocks, and matching."""
