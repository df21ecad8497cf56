"""The study file: question, dials, seeds, laws; read, checked, frozen."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jepa_scale.laws.cells import TARGETS
from jepa_scale.records import RunTable
from jepa_scale.records.dials import K_KEY, N_KEY, Dial, Value, read, wrong_dials
from jepa_scale.records.quantities import Target, read_target
from jepa_scale.runs.config import data_dir
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.leaves import options
from jepa_scale.studies.launching.launcher import Launcher, take_launcher
from jepa_scale.studies.specification.arms import wrong_arms
from jepa_scale.studies.specification.budget import TIMED, BudgetRule, budget_of
from jepa_scale.studies.specification.form import Problem, wrong_form
from jepa_scale.studies.specification.origin import Origin
from jepa_scale.studies.specification.tuning import TuningSpec, tuning_of
from jepa_scale.texts import first_line, parse_yaml


@dataclass(frozen=True)
class StudySpec:
    """One study: the grid of dials × seeds, what all runs share, and how the table is read."""

    name: str
    question: str
    dials: Mapping[str, Dial]
    """By configuration key; ``data.n`` and ``model.k`` are what figures and advice are about, any other may join."""
    seeds: tuple[int, ...]
    arms: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Other settings and their values: the grid is run for every combination, each read as a study of its own."""
    extra: tuple[Mapping[str, Value], ...] = ()
    """Single runs beside the grid: each dial and ``seed``."""
    overrides: tuple[str, ...] = ()
    """Overrides that every run shares, as on the command line."""
    sampler: str = "grid"
    """``grid``: every cell with every seed; ``design``: cells and seeds chosen one after another."""
    launcher: str | Mapping[str, Any] = "local"
    """Where workers run: a name, or ``{name: slurm, partition: …}``."""
    laws: tuple[str, ...] = ("generic", "theory_free", "theory_fixed", "theory_bounded")
    """Leaves of ``conf/law``, formulas on the target's column, or ``additive``: a power of each dial."""
    target: Target = field(default_factory=Target)
    """What the study is about."""
    hold_out_largest_n: bool = True
    level: float = 0.9
    bootstrap_draws: int = 200
    target_regret: float = 0.02
    design: Mapping[str, Any] | None = None
    """Of ``sampler: design``: ``data.n`` and ``model.k`` of the forecast, and ``runs``, ``hours`` or ``tolerance``."""
    budget: BudgetRule = field(default_factory=BudgetRule)
    """How many steps a run gets, by its n."""
    tuning: TuningSpec | None = None
    """None: the learning rate is not checked by width."""
    origin: Origin = field(default_factory=Origin, compare=False, repr=False)
    """Where it was read from."""

    def to_dict(self) -> dict[str, Any]:
        """Return lists and dictionaries, ready for YAML."""
        content = asdict(self)
        content["dials"] = {key: dial.written() for key, dial in self.dials.items()}
        content["arms"] = {key: list(values) for key, values in self.arms.items()}
        content["extra"] = [dict(one) for one in self.extra]
        content["target"] = self.target.written()
        content["design"] = None if self.design is None else dict(self.design)
        content["budget"] = self.budget.to_dict()
        del content["tuning"], content["origin"]
        if self.tuning is not None:
            content["tuning"] = self.tuning.to_dict()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of ``data.n``; none where it is no dial."""
        return self._values(N_KEY)

    @property
    def widths(self) -> tuple[int, ...]:
        """Values of ``model.k``; none where it is no dial."""
        return self._values(K_KEY)

    def _values(self, key: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.dials[key].values) if key in self.dials else ()

    @property
    def others(self) -> tuple[Dial, ...]:
        """Dials beside n and k."""
        return tuple(dial for key, dial in self.dials.items() if key not in (N_KEY, K_KEY))

    @property
    def reference(self) -> dict[str, Value]:
        """Values of the dials beside n and k at which figures of n and k are drawn, by name."""
        return {dial.name: dial.reference for dial in self.others}

    def with_overrides(self, overrides: list[str]) -> StudySpec:
        """Return the study with more overrides for every run."""
        return StudySpec(**{**self.__dict__, "overrides": (*self.overrides, *overrides)})


def launcher_of(spec: StudySpec, overrides: Sequence[str]) -> tuple[Launcher, list[str]]:
    """Take the launcher's settings out of the overrides: where workers run, and what is meant for every run.

    Raises
    ------
    UserError
        If a setting of the launcher is wrong, or a dial of the study is overridden.
    """
    launcher, others = take_launcher(spec.launcher, overrides)
    for text in others:
        key = text.partition("=")[0]
        if key in (*spec.dials, *spec.arms, "seed"):
            raise UserError(f"{text}: {key} is a dial of study {spec.name}; change the list in the study file")
    return launcher, others


def find_sweep(name: str) -> Path:
    """Return a study file by path, or by name among the sweeps shipped with the package.

    Raises
    ------
    UserError
        If there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = data_dir("sweeps", "quickstart.yaml")
    if (shipped / f"{name}.yaml").is_file():
        return shipped / f"{name}.yaml"
    known = sorted(file.stem for file in shipped.glob("*.yaml"))
    near = difflib.get_close_matches(name.removesuffix(".yaml"), known, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}? Else " if near else ""
    raise UserError(f"no study file {name!r}: {hint}give a path to a YAML file, or one of {', '.join(known)}")


def read_spec(path: Path) -> StudySpec:
    """Read and check a study file.

    Raises
    ------
    UserError
        Names every unknown field, missing field and impossible value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text, exponents=True)
    except ValueError as error:
        raise UserError(f"{path} is not YAML ({first_line(error)}): mend it, or write it anew") from None
    return parse_spec(content, str(path), text)


def spec_of(study: Path) -> StudySpec:
    """Read the file of a study's folder.

    Raises
    ------
    UserError
        If the folder is not a study's, or as ``read_spec``.
    """
    written = study / "study.yaml"
    if not written.is_file():
        raise UserError(f"{study} is not a study folder (no study.yaml): give the folder that `study` or `sweep` wrote")
    return read_spec(written)


def parse_spec(content: Any, source: str, text: str = "") -> StudySpec:
    """Check the content of a study file, whose ``text`` gives the lines of what is wrong.

    Raises
    ------
    UserError
        As ``read_spec``.
    """
    origin = Origin(source, text)
    _refuse(wrong_form(content) or _wrong(content), origin)
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    settings["dials"] = {key: read(key, written) for key, written in content["dials"].items()}
    settings["target"] = read_target(content.get("target", "regret"))
    usual = {N_KEY, K_KEY} == set(settings["dials"]) and settings["target"].column in TARGETS
    settings.setdefault("laws", StudySpec.laws if usual else (ADDITIVE,))
    settings["arms"] = {key: tuple(values) for key, values in content.get("arms", {}).items()}
    settings["budget"] = budget_of(content.get("budget", {"rule": "fixed_steps"}))
    settings["tuning"], problems = tuning_of(content.get("tuning"), settings["dials"])
    _refuse([Problem(("tuning",), sentence) for sentence in problems], origin)
    _refuse(list(_contradictions(settings)), origin)
    return StudySpec(**settings, origin=origin)


def _refuse(wrong: Sequence[Problem], origin: Origin) -> None:
    """Raise an error with every sentence on what is wrong, each after its line; the file is named once."""
    if wrong:
        raise UserError(f"{origin.at()}{'; '.join(origin.line(*one.place) + one.sentence for one in wrong)}")


def _contradictions(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """What is well formed in itself and cannot be together: choices are never made on the seeds that are judged."""
    budget, tuning = settings["budget"], settings["tuning"]
    chosen_on = {"budget.seeds": budget.seeds, "tuning.seeds": tuning.seeds if tuning else ()}
    for name, seeds in chosen_on.items():
        both = sorted(set(seeds) & set(settings["seeds"]))
        if both:
            sentence = f"{name}: expected seeds that are not among the study's, got {both} in both"
            yield Problem(tuple(name.split(".")), f"{sentence}: what is chosen on a seed looks too good on it")
    dials = settings["dials"]
    lacking = [key for key in (N_KEY, K_KEY) if key not in dials]
    if budget.rule == "tuned" and lacking:
        yield Problem(("budget",), f"budget: expected {' and '.join(lacking)} among the dials of a tuned budget")
    if settings.get("sampler") == "design" and set(dials) != {N_KEY, K_KEY}:
        yield Problem(
            ("sampler",), f"sampler: design: expected {N_KEY} and {K_KEY} as the only dials, got {', '.join(dials)}"
        )
    both = sorted(set(dials) & set(settings["arms"]))
    if both:
        yield Problem(("arms",), f"arms: expected other settings than the dials, got {', '.join(both)} in both")
    timed = [key for key in TIMED if key in dials]
    if timed and budget.rule != "fixed_steps":
        yield Problem(("budget",), f"budget: expected rule: fixed_steps beside the dial {timed[0]}, got {budget.rule}")
    widths = dials[K_KEY].values if K_KEY in dials else ()
    outside = sorted(set(budget.widths) - set(widths))
    if outside and widths:
        yield Problem(
            ("budget", "widths"), f"budget.widths: expected widths of dials.model.k {list(widths)}, got {outside}"
        )
    yield from (Problem(("extra",), one) for one in _wrong_extra(settings.get("extra", ()), dials))


def _wrong(content: Mapping[str, Any]) -> list[Problem]:
    """What is well formed and names what is not there, or what cannot be together."""
    dials, laws = content["dials"], content.get("laws", ["generic"])
    target, wrong = _target_of(content.get("target", "regret"))
    taken = [name for name in RunTable.COLUMNS if name not in ("n", "k")]
    problems = [
        Problem(("dials", key), sentence) for key, found in wrong_dials(dials, taken).items() for sentence in found
    ]
    problems += [Problem(("design",), sentence) for sentence in _wrong_design(content)]
    problems += [Problem(place, sentence) for place, sentence in wrong_arms(content)]
    problems += [Problem(("target",), sentence) for sentence in wrong]
    if not problems:
        declared = [read(str(key), written) for key, written in dials.items()]
        known = columns_of(declared, target)
        problems += [Problem(("laws",), sentence) for sentence in _wrong_laws(laws, target.column, known)]
    problems += [Problem(("launcher",), sentence) for sentence in _wrong_launcher(content.get("launcher", "local"))]
    fixed = (*(dials if isinstance(dials, Mapping) else ()), "seed")
    for index, text in enumerate(content.get("overrides", [])):
        if text.partition("=")[0] in fixed:
            expected = "expected settings other than the dials, which have lists"
            problems.append(Problem(("overrides", str(index)), f"overrides: {expected}, got {text!r}"))
    return problems


ADDITIVE = "additive"


def _target_of(written: Any) -> tuple[Target, list[str]]:
    try:
        return read_target(written), []
    except ValueError as error:
        return Target(), [f"target: {error}"]


def columns_of(dials: Iterable[Dial], target: Target) -> frozenset[str]:
    """Names that are columns in the formulas of a study; an estimate is one by its name, in which / is _."""
    return frozenset([*RunTable.COLUMNS, *(dial.name for dial in dials), target.name, target.column])


def _wrong_laws(laws: Sequence[str], target: str, columns: frozenset[str]) -> list[str]:
    options, found = [*_laws(), ADDITIVE], []
    for text in laws:
        if "=" not in text:
            found += [f"law: expected one of {', '.join(options)}, or a formula, got {text!r}"] * (text not in options)
            continue
        # Imported here: formulas bring scipy, for which whoever only looks at a study should not wait.
        from jepa_scale.laws.general import law_of

        try:
            law = law_of(text, columns)
        except ValueError as error:
            found.append(f"law: {error}")
            continue
        if law.target not in {target, *TARGETS}:
            found.append(f"law: {text!r} describes {law.target}, expected a law of {target}, the study's target")
    return found


def _laws() -> list[str]:
    import yaml

    # Laws of other tables have no formula for a study's targets.
    return [
        name
        for name, leaf in options("law").items()
        if "regret" in yaml.safe_load(leaf.read_text(encoding="utf-8"))["formulas"]
    ]


def _wrong_launcher(written: Any) -> list[str]:
    if isinstance(written, Mapping) and not isinstance(written.get("name"), str):
        return [f"launcher: expected a name, or settings such as {{name: slurm, workers: 8}}, got {written!r}"]
    try:
        take_launcher(written, [])
    except UserError as error:
        return [str(error)]
    return []


def _wrong_design(content: Mapping[str, Any]) -> list[str]:
    sampler, settings = content.get("sampler", "grid"), content.get("design")
    if sampler == "grid":
        return [] if settings is None else ["design: only with sampler: design"]
    if settings is None or not {"runs", "hours", "tolerance"} & set(settings):
        return [
            "design: expected data.n and model.k to forecast, and runs, hours or tolerance (relative sd) as an end, "
            f"got {'no end' if settings else settings}"
        ]
    return []


def _wrong_extra(runs: Any, dials: Mapping[str, Dial]) -> list[str]:
    example = ", ".join(f"{key}: {dial.values[-1]}" for key, dial in dials.items())
    wanted = f"extra: expected a list of runs such as {{{example}, seed: 3}}"
    if not isinstance(runs, tuple) or not all(isinstance(one, dict) for one in runs):
        return [f"{wanted}, got {runs!r}"]
    for one in runs:
        seed = one.get("seed")
        given = {key: [value] for key, value in one.items() if key != "seed"}
        if set(given) != set(dials) or type(seed) is not int or seed < 0:
            return [f"{wanted}, got {one!r}"]
        kinds = all(
            type(one[key]) is type(dial.values[0]) or (dial.numeric and type(one[key]) in (int, float))
            for key, dial in dials.items()
        )
        if not kinds or wrong_dials(given, ()):
            return [f"{wanted}, got {one!r}"]
    return []
