"""Random changes to training images: one module for each augmentation, and the registry of them."""
