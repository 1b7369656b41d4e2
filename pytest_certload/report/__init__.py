"""Who is told, and how? Every writer reads one document, the ``RunRecord``."""
