"""The loss: ``loss.py`` has the registry of terms and their weighted sum, and each term a module of its own."""
