"""How is load made? No protocol, no database, no pytest in here."""
