"""Plain ViT encoders: built from timm by name, with token reduction inside."""
