"""Which layers and channels are updated: masks that may fit, most important first."""
