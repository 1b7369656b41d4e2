"""How good is the ruler? Measures this project's load generator beside others; see README.md."""
