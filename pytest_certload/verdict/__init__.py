"""Does it pass? Conditions on figures, and what they say when they do not hold."""
