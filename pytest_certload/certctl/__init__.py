"""Which product is under load? Everything that knows certctl, and nothing else does."""
