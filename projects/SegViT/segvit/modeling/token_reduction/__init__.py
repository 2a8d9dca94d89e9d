"""Token reduction: Shrunk and Shrunk++ choose the tokens that an encoder keeps; upsampling restores the map."""
