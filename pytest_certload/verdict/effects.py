"""Do the effects hold? What a finding must say, and what is wrong when it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_certload.proof.findings import EffectsFinding

from .measure import Judgement

__all__ = ["Verdict", "judge_rows", "judge_sightings"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Conditions on what operations left behind.

    Attributes:
        judgements: Each one, held or not.
        breaches: What is wrong, in words; none when all hold.
        examples: Keys that show it.
    """

    judgements: tuple[Judgement, ...]
    breaches: tuple[str, ...]
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join(["; ".join(self.breaches), *self.examples])


def judge_rows(
    found: EffectsFinding,
    *,
    failed: int,
    keys_per_iteration: int,
    where: str = "the database",
) -> Verdict:
    """Hold that every acknowledged key is there once, and nothing that nobody can explain.

    Args:
        found: What was found.
        failed: Iterations that failed: their answers got lost, their work maybe not.
        keys_per_iteration: The most keys that one of these may have left behind.
        where: Where they must be, in words.
    """
    name, explained = found.name, failed * keys_per_iteration
    conditions = [
        _lost(found, f"are not in {where}"),
        _condition(
            f"{name} duplicated",
            0,
            found.duplicated,
            f"{found.duplicated:,} {name} are in {where} more than once",
        ),
        _condition(
            f"{name} that nobody acknowledged",
            explained,
            found.ambiguous,
            f"{found.ambiguous:,} {name} in {where} were never acknowledged, and "
            f"{failed:,} failed iterations explain {explained:,}",
        ),
    ]
    if found.repeated is not None:
        words = (
            f"{found.repeated:,} {name} were acknowledged more than once, so that several "
            "operations left the work of one"
        )
        conditions.append(
            _condition(f"{name} acknowledged more than once", 0, found.repeated, words)
        )
    if found.strangers is not None:
        words = f"{found.strangers:,} {name} in {where} were never asked for"
        conditions.append(_condition(f"{name} that nobody asked for", 0, found.strangers, words))
    return _verdict(found, conditions)


def judge_sightings(found: EffectsFinding, *, allow_unseen: float) -> Verdict:
    """Hold that every acknowledged operation was seen.

    Args:
        found: What was found.
        allow_unseen: Share of the operations that no reading need be able to tell.
    """
    return _verdict(
        found,
        [
            _lost(found, "never showed in the database"),
            _condition(
                f"{found.name} unseen",
                int(found.acknowledged * allow_unseen),
                found.unseen,
                f"of {found.unseen:,} of {found.acknowledged:,} acknowledged {found.name} no reading "
                "could tell, as the key's next one came too soon: read more often (every=…), or "
                "allow_unseen=… a share",
            ),
        ],
    )


def _verdict(found: EffectsFinding, conditions: Sequence[tuple[Judgement, str]]) -> Verdict:
    breaches = tuple(words for judgement, words in conditions if not judgement.passed)
    return Verdict(
        judgements=tuple(judgement for judgement, _ in conditions),
        breaches=breaches,
        examples=found.examples if breaches else (),
    )


def _lost(found: EffectsFinding, how: str) -> tuple[Judgement, str]:
    of = f"{found.acknowledged:,} acknowledged"
    judgement = Judgement(
        metric=f"{found.name} lost",
        step=None,
        condition="== 0",
        actual=f"{found.lost:,} of {of}",
        passed=found.lost == 0 and found.acknowledged > 0,
    )
    if found.acknowledged:
        return judgement, f"{found.lost:,} of {of} {found.name} {how}"
    return judgement, (
        f"no {found.name} were acknowledged, so nothing is proven: "
        "is ledger.acknowledged(key) missing in the iteration?"
    )


def _condition(metric: str, most: int, actual: int, breach: str) -> tuple[Judgement, str]:
    judgement = Judgement(
        metric=metric,
        step=None,
        condition=f"<= {most:,}" if most else "== 0",
        actual=f"{actual:,}",
        passed=actual <= most,
    )
    return judgement, breach
