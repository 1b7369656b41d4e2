"""How does an ACME client speak? RFC 8555 for load: it works with any server, and knows no product."""
