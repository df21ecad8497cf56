"""The laws of a study: leaves of ``conf/law``, formulas, and the one that its dials ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jepa_scale.laws.general import FormulaFamily, law_of
from jepa_scale.laws.law import LawFamily
from jepa_scale.records import RunTable
from jepa_scale.records.dials import Dial
from jepa_scale.runs.instantiate import build_law
from jepa_scale.studies.specification.spec import ADDITIVE, StudySpec, columns_of


def families_of(spec: StudySpec, names: Sequence[str] = ()) -> list[LawFamily]:
    """Return the laws that a study's file names, or ``names``.

    Raises
    ------
    UserError
        If there is no law of a name.
    """
    return [_family(text, spec) for text in names or spec.laws]


def _family(text: str, spec: StudySpec) -> LawFamily:
    if "=" in text:
        known = columns_of(spec.dials.values(), spec.target)
        return FormulaFamily(text, {law_of(text, known).target: text}, columns=known)
    return additive(spec.dials.values()) if text == ADDITIVE else build_law(text)


def additive(dials: Iterable[Dial]) -> LawFamily:
    """Return E + Σ_d A_d x_d^-e_d over the dials that are numbers and have several values.

    Exponents of n and k are positive; those of other dials may have either sign.
    """
    varied = [dial for dial in dials if dial.numeric and len(dial.values) > 1 and float(min(dial.values)) > 0]
    terms = "".join(f" + A_{dial.name} {dial.name}^-e_{dial.name}" for dial in varied)
    ends = {f"e_{dial.name}": (0.02, 6.0) if dial.name in ("n", "k") else (-2.0, 6.0) for dial in varied}
    return LawFamily(ADDITIVE, {}, ends, otherwise=f"E{terms}")


def columns_read(families: Sequence[LawFamily], targets: Sequence[str]) -> list[str]:
    """Return the columns that laws read beyond those that every table has."""
    laws = [family.on(target) for family in families for target in targets if family.describes(target)]
    return list(dict.fromkeys(name for law in laws for name in law.columns if name not in RunTable.COLUMNS))
