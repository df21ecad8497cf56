import json
import math
import os
from importlib.metadata import distributions

import pytest
import yaml

from jepa_scale.runs.config import data_dir
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.design import design
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.specification.form import json_schema
from jepa_scale.studies.specification.spec import find_sweep, launcher_of, parse_spec, read_spec
from jepa_scale.texts import parse_yaml

NEEDED = {
    "pointmaze": ["gymnasium_robotics"],
    "reacher": ["mujoco"],
    "reacher_pixels": ["mujoco"],
    "pusht": ["gym_pusht"],
}
"""Modules of environments that a study is of."""
GOOD = {"name": "small", "question": "?", "dials": {"data.n": [300, 600], "model.k": [2, 4]}, "seeds": [0, 1]}


@pytest.mark.parametrize("path", sorted(data_dir("sweeps", "quickstart.yaml").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_study_resolves(path):
    if path.stem == "icu_sepsis" and not any(one.name == "icu-sepsis" for one in distributions()):
        pytest.skip("needs pip install --no-deps icu-sepsis")
    for module in NEEDED.get(path.stem, ()):
        pytest.importorskip(module, exc_type=ImportError)
    if path.stem.endswith("_pixels") and not os.environ.keys() & {"MUJOCO_GL", "DISPLAY"}:
        pytest.skip("renders, which needs a display or MUJOCO_GL=egl")
    spec = read_spec(path)
    points = design(spec)
    cells = [point for point in points if point.purpose == "cell"]
    arms = math.prod(len(values) for values in spec.arms.values())
    assert len(cells) == arms * len(spec.seeds) * math.prod(len(dial.values) for dial in spec.dials.values())
    assert len({point.run_id for point in points}) == len(points)
    assert find_sweep(spec.name) == path


def test_the_quickstart_is_what_it_promises():
    spec = read_spec(find_sweep("quickstart"))
    assert spec.sizes == (300, 1000, 3000, 10000, 30000)
    assert spec.widths == (2, 4, 8, 16, 32, 64)
    assert spec.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [1]}, r"unknown key 'sedes': did you mean 'seeds'"),
        ({"dials": {}}, r"dials: expected configuration keys with lists of values"),
        ({"dials": {"data.n": [300], "model.k": [0]}}, r"dials\.model\.k: expected a list of whole numbers ≥ 1"),
        ({"dials": {"data.n": [300, 300], "model.k": [2]}}, r"dials\.data\.n: expected different values"),
        ({"seeds": []}, r"seeds: expected a list"),
        ({"seeds": [True]}, r"seeds: expected a list"),
        ({"laws": ["chinchilla"]}, r"law: expected one of .*theory_free.*, got 'chinchilla'"),
        ({"laws": None}, r"laws: expected a list"),
        ({"laws": 5}, r"laws: expected a list"),
        ({"question": 5}, r"question: expected a text"),
        ({"sampler": "tpe"}, r"sampler: expected grid"),
        ({"launcher": "moon"}, r"launcher: expected one of local, slurm"),
        ({"launcher": {"workers": 3}}, r"launcher: expected a name, or settings"),
        ({"launcher": {"name": "slurm", "partitions": "a"}}, r"did you mean 'launcher.partition'"),
        ({"level": 90}, r"level: expected a number between 0 and 1"),
        ({"bootstrap_draws": 3}, r"bootstrap_draws"),
        ({"hold_out_largest_n": "no!"}, r"hold_out_largest_n: expected true or false"),
        ({"overrides": "world=torus"}, r"overrides: expected a list"),
        ({"name": "../up"}, r"name: expected letters"),
    ],
)
def test_mistakes_in_a_study_file_are_named(change, message):
    with pytest.raises(UserError, match=message):
        parse_spec(GOOD | change, "file.yaml")


def test_missing_fields_are_named_together():
    with pytest.raises(UserError, match=r"'question' is missing; .*'seeds' is missing"):
        parse_spec({"name": "x", "dials": GOOD["dials"]}, "file.yaml")


def test_files_that_are_no_study(tmp_path):
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(UserError, match=r"broken\.yaml is not YAML"):
        read_spec(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UserError, match="expected a mapping"):
        read_spec(tmp_path / "list.yaml")
    with pytest.raises(UserError, match=r"no study file 'nope': .*quickstart"):
        find_sweep("nope")


def test_a_study_survives_its_own_file():
    spec = parse_spec(GOOD, "file.yaml")
    assert parse_spec(yaml.safe_load(yaml.safe_dump(spec.to_dict())), "again") == spec


def test_a_cell_that_cannot_run_is_named_before_anything_runs():
    with pytest.raises(UserError, match=r"study small, n=100, k=4, seed=0: data\.n=100 is below"):
        design(parse_spec(GOOD | {"dials": {"data.n": [100, 600], "model.k": [2, 4]}}, "file.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [("planner.horizon=20", r"planner\.horizon"), ("callbacks=none", r"needs callbacks\.planning")],
)
def test_what_no_run_could_do_is_refused_once(override, message):
    with pytest.raises(UserError, match=message):
        design(parse_spec(GOOD | {"overrides": [override]}, "file.yaml"))


def test_seeds_of_a_replicate_come_together_and_wide_models_first():
    points = design(parse_spec(GOOD, "file.yaml"))
    assert [point.seed for point in points] == [0] * 4 + [1] * 4
    assert [point.k for point in points[:4]] == [4, 4, 2, 2]


def test_workers_are_taken_out_of_the_overrides():
    spec = parse_spec(GOOD, "file.yaml")
    assert launcher_of(spec, ["workers=3", "optimizer.lr=1e-3"]) == (LocalLauncher(3), ["optimizer.lr=1e-3"])
    assert launcher_of(spec, [])[0].processes >= 1
    for wrong in ("workers=0", "workers=two", "workers=-1"):
        with pytest.raises(UserError, match="workers: expected a whole number from 1"):
            launcher_of(spec, [wrong])
    with pytest.raises(UserError, match="dial of study small"):
        launcher_of(spec, ["model.k=8"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 0]}, r"seeds: expected different values, got \[0, 0\]"),
        ({"level": True}, r"level: expected a number between 0 and 1, got True"),
        ({"budget": {"rule": "fixed_epochs", "passes": math.inf, "most_steps": 3}}, r"budget\.passes: expected a fin"),
        ({"sampler": "design", "design": {"data.n": 9, "model.k": 2}}, r"design: expected data.*, got no end"),
        ({"sampler": "design", "design": {"data.n": 9.5, "model.k": 2, "runs": 0}},
         r"design\.data\.n: expected a whole number above 0, got 9\.5; design\.runs: expected a whole number"),
        ({"design": {"data.n": 9, "model.k": 2, "runs": 3}}, r"design: only with sampler: design"),
    ],
)  # fmt: skip
def test_limits_of_the_form_are_told_at_their_place(change, message):
    with pytest.raises(UserError, match=message):
        parse_spec(GOOD | change, "file.yaml")


def test_the_shipped_schema_is_that_of_the_form():
    shipped = data_dir("sweeps", "quickstart.yaml") / "study.schema.json"
    assert json.loads(shipped.read_text()) == json.loads(json.dumps(json_schema()))


@pytest.mark.parametrize("path", sorted(data_dir("sweeps", "quickstart.yaml").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_studies_name_the_schema_and_fit_it(path):
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=study.schema.json\n")
    known = json_schema()
    content = yaml.safe_load(text)
    assert set(known["required"]) <= set(content) <= set(known["properties"])


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nquestion: '?'\nseeds: [0, 1]\ndials: {data.n: [300]}\nseeds: [2]\n")
    with pytest.raises(UserError, match=r"line 5.*seeds stands twice, first in line 3"):
        read_spec(file)


LINES = """\
name: small
question: "?"
dials:
  data.n: [300, 600]
  model.k: [2, 4]
  trainer.steps_per_epoch: [10, 20]
seeds: [0]
arms:
  world.hidden.side: [2, 3]
overrides:
  - data.batch_size=32
  - trainer.epochs=1
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("trainer.epochs=1", "trainer.epoch=1", 12, "unknown key 'trainer.epoch'"),
        ("trainer.epochs=1", "trainer.epochs=many", 12, "trainer.epochs: expected an integer, got 'many'"),
        ("data.batch_size=32", "model.k=3", 11, "overrides: expected settings other than the dials"),
        ("steps_per_epoch", "steps_per_age", 6, "unknown key 'trainer.steps_per_age'"),
        ("[10, 20]", "[10, x]", 6, "expected values of one kind"),
        ("world.hidden.side", "world.hidden.edge", 9, "world.hidden.edge"),
        ("[2, 3]", "[3, 3]", 9, "expected values that differ"),
        ("data.batch_size=32", "data.batch_size=400", 3, "below data.batch_size=400"),
    ],
)
def test_a_mistake_in_any_setting_is_told_with_its_file_and_line(old, new, line, told, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LINES.replace(old, new))
    with pytest.raises(UserError) as refused:
        design(read_spec(path))
    assert str(refused.value).startswith(f"{path}: line {line}: ")
    assert told in str(refused.value)


def test_a_mistake_of_the_command_line_is_not_the_files(tmp_path):
    (tmp_path / "mine.yaml").write_text(LINES)
    spec = read_spec(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=r"^study small, world.hidden.side=2: unknown key 'trainer.epoch'"):
        design(spec.with_overrides(["trainer.epoch=1"]))
    assert "origin" not in spec.to_dict()


def test_exponents_are_numbers_in_a_study_file_as_in_yaml_1_2(tmp_path):
    plain = LINES.replace("seeds: [0]", "seeds: [0, 10]\ntarget_regret: 0.05")
    written = plain.replace("[300, 600]", "[3e2, 6E+2]").replace("[10, 20]", "[1e1, 2e1]")
    written = written.replace("[0, 10]", "[0, 1e1]").replace("0.05", "5e-2")
    for name, text in (("plain", plain), ("written", written)):
        (tmp_path / f"{name}.yaml").write_text(text)
    assert read_spec(tmp_path / "written.yaml") == read_spec(tmp_path / "plain.yaml")
    mixed = parse_yaml("[1e3, 2.5e-3, 1e3x, '1e3', 1.0e+3]", exponents=True)
    assert mixed == [1000, 0.0025, "1e3x", "1e3", 1000.0]
    assert [type(value) for value in mixed] == [int, float, str, str, float], "a float of YAML 1.1 stays one"
    assert parse_yaml("a: 1e3") == {"a": "1e3"}, "elsewhere a text such as a digest stays one"
