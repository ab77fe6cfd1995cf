"""The loss: ``loss.py`` has the table of terms and their weighted sum, and each term a module of its own."""
