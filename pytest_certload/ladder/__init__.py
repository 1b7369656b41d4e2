"""What does each setting buy? The same load tests on one rung after the other, in one table.

A rung is settings of Postgres and variables of the server. They are a stack's, and a stack is a
session's, so each rung is a pytest session of its own.
"""
