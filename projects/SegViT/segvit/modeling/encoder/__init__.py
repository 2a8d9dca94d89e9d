"""Image encoders: plain ViTs of timm with token reduction inside, and Swin."""
