"""Networks, losses and the averaged weights."""
