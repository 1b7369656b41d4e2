"""What does one show around? ``report.html``: one file, no network, all runs of a session."""

from .page import page, write_report

__all__ = ["page", "write_report"]
