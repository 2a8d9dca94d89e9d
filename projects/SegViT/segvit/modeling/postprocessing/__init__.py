"""From class and mask logits to scores or labels at image size."""
