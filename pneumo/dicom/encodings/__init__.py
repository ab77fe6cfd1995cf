"""The encodings of pixel data: one module for each family, entered into ``registry.ENCODINGS``."""
