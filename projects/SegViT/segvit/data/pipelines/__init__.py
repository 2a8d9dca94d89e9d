"""Pipelines of users: Albumentations, torchvision.transforms.v2, or functions, named by INPUT.AUGMENTATION."""
