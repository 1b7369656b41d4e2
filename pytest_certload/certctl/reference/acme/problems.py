"""How is an ACME request refused? By a problem document, which never carries a nonce."""

from __future__ import annotations

from pytest_certload.certctl.reference.web import Answer, problem

__all__ = ["INTERNAL", "NOT_FOUND", "Refused", "malformed", "unauthorized"]

INTERNAL = problem(500, "serverInternal", "ACME server error")
NOT_FOUND = problem(404, "malformed", "resource not found")


class Refused(Exception):
    """A request that is answered with a problem document.

    Attributes:
        answer: The document.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


def malformed(detail: str) -> Refused:
    """The refusal of something that cannot be read."""
    return Refused(problem(400, "malformed", detail))


def unauthorized(detail: str) -> Refused:
    """The refusal of somebody who may not."""
    return Refused(problem(401, "unauthorized", detail))
