"""How does a run compare with what was measured before? Baselines, kept in a folder that is committed."""
