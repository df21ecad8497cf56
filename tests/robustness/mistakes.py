"""Mistakes that a user can make on the command line: wrong arguments of every command, and wrong study files."""

import yaml

STUDY = {
    "name": "tiny",
    "question": "Does it run?",
    "dials": {"data.n": [300, 600], "model.k": [2, 4]},
    "seeds": [0],
    "laws": ["generic"],
    "bootstrap_draws": 20,
    "overrides": [
        "world=lowrank", "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=5", "data.heldout=1600",
        "data.test=1600", "data.batch_size=64", "model.hidden=16",
    ],
}  # fmt: skip
DRY = ["launcher=slurm", "--dry-run"]


def overrides(prefix=()):
    """Wrong values of a run's configuration, each alone."""
    return [[*prefix, text] for text in CONFIGURATION]


CONFIGURATION = (
    "model.widht=3", "modle.k=3", "nonsense=1", "nonsense=", "=", "=3", "model.k", "model", "model=7", "model.k=",
    "model.k=abc", "model.k=-3", "model.k=0", "model.k=2.5", "model.k=1e12", "model.k=1000000", "model.k=4294967296",
    "model.k=nan", "model.k=true", "model.k=null", "model.k=[2]", "model.k={a: 1}", "model.k=1,2", "+model.x=1",
    "~model.k", "model.k.x=3", "model.hidden=0", "model.hidden=-1", "model.hidden=1000000000",
    "model.normalise=maybe",
    "data.n=10", "data.n=-10", "data.n=0", "data.n=1e12", "data.n=1000000000000", "data.n=99999999999999999999",
    "data.batch_size=1", "data.batch_size=0", "data.batch_size=100000000", "data.heldout=5", "data.test=-1",
    "data.length=0", "data.length=1000000", "data.horizon=0", "data.horizon=-2", "data.horizon=21", "data=nope",
    "seed=-1", "seed=12345678901234567890", "seed=2147483648", "seed=1.5", "seed=abc", "seed=[0,0]", "seed=null",
    "trainer.threads=100000", "trainer.threads=0", "trainer.threads=-1", "trainer.threads=1.5",
    "trainer.epochs=0", "trainer.epochs=-1", "trainer.epochs=1000000000000", "trainer.steps_per_epoch=0",
    "trainer.gradient_clip=-1", "trainer.gradient_clip=nan", "trainer.divergence=nan", "trainer.divergence=inf",
    "trainer.divergence=0", "trainer.devices=0", "trainer.devices=-1", "trainer.devices=100000", "trainer.devices=3",
    "trainer.precision=64", "trainer.precision=bogus", "trainer.accelerator=bogus", "trainer.accelerator=",
    "trainer.compile=3",
    "trainer.checkpoint_every=0", "optimizer.lr=nan", "optimizer.lr=inf", "optimizer.lr=0", "optimizer.lr=-1",
    "optimizer.lr=fast", "optimizer.rl=1", "optimizer.weight_decay=-1", "optimizer.weight_decay=nan",
    "optimizer.base_k=0", "optimizer.base_k=1.5", "world=nope", "world=", "world=ünïcödé", "world=torus,lowrank",
    "world._target_=os.system", "world._target_=nope", "world._target_=", "encoder._target_=3", "encoder=cnn",
    "encoder.depth=-1", "encoder.k=3",
    "predictor=nope", "predictor.depth=1000000000", "objective.negatives=both", "objective=nope", "planner=cem",
    "planner=none", "planner.horizon=0", "planner.horizon=-1", "planner.horizon=30", "planner.horizon=1.5",
    "planner.score=cosine", "planner.goal_law=nope", "evaluation.episodes=0", "evaluation.episodes=-5",
    "evaluation.required_steps=3", "evaluation.required_steps=[0]", "evaluation.success=perhaps", "stages=[]",
    "stages=[finetune]", "stages=pretrain", "finetune=nope", "callbacks.spectrum=3", "callbacks=nope",
    "logger.mode=bogus", "logger=nope", "ключ=значение", "model.k=٣x", "'", '"', "{", "a b", "${oc.env:HOME}",
    "model.k=${seed}", "model.k='3'", "\x00=1", "", " ",
)  # fmt: skip

IN_LOWRANK = (
    "world.states=0", "world.states=-1", "world.states=1000000", "world.states=1e12", "world.rank=0", "world.rank=61",
    "world.action_count=0", "world.action_count=1000000", "world.concentration=0.0", "world.concentration=nan",
    "world.emission=-1.0", "world.world_seed=-1", "world.world_seed=99999999999",
)  # fmt: skip

WORLDS = (
    ["world=torus", "world.side=100000"], ["world=torus", "world.side=1"], ["world=torus", "world.side=-5"],
    ["world=torus", "world.blur=nan"], ["world=torus", "world.blur=-1.0"], ["world=torus", "world.slip=2.0"],
    ["world=torus", "world.hidden.side=3"], ["world=deterministic_grid", "world.side=100000"],
    ["world=deterministic_grid", "world.side=0"], ["world.hidden.side=100000"], ["world.hidden.side=0"],
    ["world.observations_per_state=0"], ["world.observations_per_state=1000000"], ["world.observation_size=0"],
    ["world.observation_size=1000000000"], ["world.nuisance_size=32"], ["world=persistence", "world.persistence=2.0"],
    ["world=persistence", "world.nuisance_values=0"], ["world=persistence", "world.nuisance_values=1000000"],
    ["world=point_mass", "planner=exhaustive"], ["world=point_mass", "planner=cem", "world.damping=0.0"],
    ["world=point_mass", "planner=cem", "world.arena=nan"], ["world=point_mass", "planner=cem",
    "world.noise_std=inf"],
    ["world=point_mass", "planner=cem", "world.nuisance_size=1000000000"],
    ["world=point_mass", "planner=cem", "planner.candidates=0"],
    ["world=point_mass", "planner=cem", "planner.candidates=1000000000000"],
    ["world=point_mass", "planner=cem", "planner.elites=65"], ["world=point_mass", "planner=cem",
    "planner.floor=nan"],
    ["world=point_mass", "planner=cem", "planner.deviation=-1.0"],
    ["world=point_mass", "planner=cem", "planner.cost.final=nan"],
    ["world=point_mass", "planner=cem", "evaluation.required_steps=[100000]"],
    ["world=point_mass", "planner=gradient", "planner.rate=0.0"],
    ["world=point_mass", "planner=mppi", "planner.temperature=0.0"],
    ["world=two_rooms", "planner=cem", "world.size=7"], ["world=two_rooms", "planner=cem", "world.door=2.0"],
    ["world=two_rooms", "planner=cem", "world.size=1000000"], ["world=two_rooms", "planner=cem"],
    ["world=distractors", "planner=cem", "world.persistence=2.0"], ["world=distractors", "planner=cem", "world.size=0"],
    ["world=tabular"], ["world=tabular", "world.path={missing}"], ["world=tabular", "world.path={folder}"],
    ["world=tabular", "world.path={garbage}.npz"], ["world=tabular", "world.path={empty}.npz"],
    ["world=tabular", "world.path={embeddings}"], ["world=recorded", "planner=none"],
    ["world=recorded", "planner=none", "world.path={missing}"],
    ["world=recorded", "planner=none", "world.path={garbage}.h5"],
    ["world=recorded", "planner=none", "world.path={episodes}", "world.frameskip=0"],
    ["world=recorded", "planner=none", "world.path={episodes}", "data.n=100000"],
    ["world=gymnasium_tabular", "world.environment=nope"], ["world=gymnasium", "planner=none", "world.at_once=0"],
    ["world=lowrank", "world.rank=99"], ["world=lowrank", "world.states=1000000"],
)  # fmt: skip

FILES = (
    "{missing}",
    "{folder}",
    "{garbage}.yaml",
    "{empty}.yaml",
    "",
    " ",
    "\x00",
    "a" * 5000,
    "ünïcödé.yaml",
    "/dev/null",
    "/proc",
)


def study_files():
    """Study files that are wrong, each in one place: file name and content."""
    changes = {
        "name": [None, 3, "", "../up", "a b", "ä/ö", [], "x" * 300],
        "question": [None, 3, [], {}],
        "dials": [None, 3, [], {}, {"data.m": [300]}, {"data.n": [300], "model.k": [2], "seed": [1]},
                  {"data.n": [300], "optimizer.lr": ["a"]}, {"data.n": [300], "optimizer.lr": [-1.0]},
                  {"data.n": [300], "model.k": [2], "world": ["nope"]},
                  {"data.n": [], "model.k": [2]}, {"data.n": [300, 300], "model.k": [2]}, {"data.n": 300,
                  "model.k": 2},
                  {"data.n": [10], "model.k": [2]}, {"data.n": [10**12], "model.k": [2]},
                  {"data.n": [10**20], "model.k": [2]},
                  {"data.n": [300], "model.k": [2**31]}, {"data.n": [-300], "model.k": [2]},
                  {"data.n": ["300"], "model.k": [2]}, {"data.n": [300.0], "model.k": [2]},
                  {"data.n": [None], "model.k": [2]}, {"data.n": [300], "model.k": [float("nan")]},
                  {"data.n": [[300]], "model.k": [2]}, {3: [300], "model.k": [2]}],
        "seeds": [None, [], 0, [-1], [0, 0], [1.5], ["0"], [2**31], [10**20], [True], {}, [[0]], [float("nan")]],
        "arms": [3, [], {"data.n": [300]}, {"nope.key": [1]}, {"optimizer.lr": []}, {"optimizer.lr": 0.1},
                 {"optimizer.lr": [float("nan")]}, {"optimizer.lr": [0.1, 0.1]}, {"optimizer.lr": [None]},
                 {"optimizer.lr": [-1.0]}, {3: [1, 2]}, {"": [1]}, {"world": ["nope"]}, {"optimizer.lr": [[1]]}],
        "extra": [3, {}, [3], [{}], [{"data.n": 300, "model.k": 2}], [{"data.n": 300, "model.k": 2, "seed": -1}],
                  [{"data.n": 10**20, "model.k": 2, "seed": 0}], [{"data.n": 300, "model.k": 2, "seed": 10**20}],
                  [{"data.n": 1, "model.k": 2, "seed": 0}]],
        "overrides": [3, "world=torus", [3], {}, ["nope=1"], ["optimizer.lr=nan"], ["world=nope"], ["seed=3"], [""],
                      ["callbacks=none"], ["data.n=5"]],
        "sampler": [None, 3, "tpe", [], "design"],
        "design": [3, {}, {"data.n": 300}],
        "launcher": [None, 3, "moon", [], {}, {"workers": 2}, {"name": "local", "workers": 0}, {"name": "slurm",
        "time": "x"},
                     {"name": "slurm", "nope": 1}, {"name": "local", "workers": 10**12}],
        "laws": [None, 3, "generic", [], ["nope"], [3], ["generic", "generic"], [["generic"]]],
        "hold_out_largest_n": [None, 3, "no"],
        "level": [None, 0, 1, -1, 90, "x", float("nan"), True, []],
        "target_regret": [None, 0, 1, -1, "x", float("nan"), []],
        "bootstrap_draws": [None, 3, -1, "x", 1.5, float("nan"), [], True, 10**12],
        "budget": [None, 3, [], {}, {"rule": "nope"}, {"rule": "fixed_steps", "x": 1}, {"rule": "tuned"},
                   {"rule": ["tuned"]}, {"rule": "tuned", "steps": [0], "seeds": [9], "widths": [2]},
                   {"rule": "tuned", "steps": [5, 10], "seeds": [0], "widths": [2]},
                   {"rule": "tuned", "steps": [5, 10], "seeds": [9], "widths": [64]}],
        "tuning": [3, [], {}, {"optimizer.lr": [0.1]}, {"optimizer.lr": [0.1, -1], "n": 300, "seeds": [9],
        "widths": [2]},
                   {"optimizer.lr": [0.1, 0.2], "n": 5, "seeds": [9], "widths": [2]},
                   {"optimizer.lr": [0.1, 0.2], "n": 300, "seeds": [0], "widths": [2]},
                   {"optimizer.lr": [float("nan"), 0.2], "n": 300, "seeds": [9], "widths": [2]},
                   {"optimizer.lr": [0.1, 0.2], "n": 300, "seeds": [9], "widths": [10**7]}],
        "sedes": [[0]],
    }  # fmt: skip
    for key, values in changes.items():
        for value in values:
            yield f"{key}={value!r}"[:60], yaml.safe_dump({**STUDY, key: value})
    for key in ("name", "question", "dials", "seeds"):
        yield f"no {key}", yaml.safe_dump({name: value for name, value in STUDY.items() if name != key})
    plain = yaml.safe_dump(STUDY)
    yield "list", "- 1\n- 2\n"
    yield "number", "3"
    yield "text", "hello"
    yield "null", "null"
    yield "comment", "# nothing"
    yield "unclosed", plain + "\nlaws: [generic"
    yield "tab", plain + "\n\tlaws: x"
    yield "control", plain + "\x07"
    yield "tag", plain + "\nlaws: !!python/object/apply:os.getcwd []"
    yield "two documents", plain + "\n---\n" + plain
    yield "alias", plain + "\nlaws: *nope"
    yield "date", plain.replace("tiny", "2001-01-01")
    yield "key that is a list", plain + "\n? [a, b]\n: 3\n"


STUDY_FILES = dict(study_files())

FIT = (
    *([path] for path in (*FILES, "{garbage}.csv", "{garbage}.parquet", "{empty}.csv", "{empty}.parquet",
    "{table}.txt")),
    *(["{table}", *rest] for rest in (
        ["--law"], ["--law", "nope"], ["--law", ""], ["--law", "loss ="], ["--law", "= N"], ["--law",
        "loss = E + A N^"],
        ["--law", "loss = E + A Q^-a"], ["--law", "loss = E +"], ["--law", "loss = E + A N^9^9^9^9"],
        ["--law", "loss = __import__('os')"], ["--law", "loss = E + A loss^-a"], ["--law", "ünï = E + A N^-a"],
        ["--law", "loss = 3"], ["--law", "generic"], ["--law", "loss = E + A N^-a", "N = E + A D^-a"],
        ["--columns", "N"], ["--columns", "N="], ["--columns", "=N"], ["--columns", "N=nope"], ["--columns",
        "N=text"],
        ["--columns", "N=1e999*N"], ["--columns", "N=N", "N=D"], ["--loss", "nope"], ["--loss", ""],
        ["--loss", "huber:x"], ["--loss", "huber:-1"], ["--loss", "huber:nan"], ["--loss", "huber:0"],
        ["--loss", "envelope:nan"], ["--loss", "beta-binomial"], ["--loss", "beta-binomial:2"], ["--loss",
        "beta-binomial:nan"],
        ["--loss", "binomial"], ["--loss", "binomial", "--episodes", "nope"], ["--cluster", "nope"], ["--weight",
        "nope"],
        ["--weight", "text"], ["--episodes", "nope"], ["--scale", "nope"], ["--scale", "text"], ["--at"],
        ["--at", "N"],
        ["--at", "N=x"], ["--at", "N=1e9"], ["--at", "N=1e9", "D=-1"], ["--at", "N=nan", "D=1"],
        ["--at", "N=1e9", "D=inf"], ["--at", "N=1e9", "D=1", "Q=3"], ["--goal", "x"], ["--goal", "nan"],
        ["--goal", "inf"],
        ["--level", "0"], ["--level", "1"], ["--level", "nan"], ["--level", "90"], ["--level", "x"], ["--draws",
        "-1"],
        ["--draws", "3"], ["--draws", "1e3"], ["--draws", "1000000000000"], ["--seed", "-1"], ["--seed", "x"],
        ["--seed", "99999999999999999999"], ["--folder", "{table}"], ["--folder", "{table}/below"], ["--folder",
        "/proc/x"],
        ["--nope"], ["extra"],
    )),
)  # fmt: skip

ADVISE = (
    *([path] for path in (*FILES, "{garbage}.csv", "{empty}.csv", "{table}", "{run}")),
    *([source, *rest] for source in ("{runs_table}", "{study}") for rest in (
        ["--target-regret", "0"], ["--target-regret", "-1"], ["--target-regret", "nan"], ["--target-regret", "x"],
        ["--target-regret", "inf"], ["--n", "0"], ["--n", "-5"], ["--n", "1.5"], ["--n", "x"],
        ["--n", "99999999999999999999999999"], ["--k", "0"], ["--k", "-1"], ["--k", "1.5"],
        ["--k", "99999999999999999999999999"], ["--budget", "0"],
        ["--budget", "-1"], ["--budget", "nan"], ["--budget", "inf"], ["--budget", "x"], ["--level", "0"],
        ["--level", "1"], ["--level", "nan"],
        ["--level", "2"], ["--law"], ["--law", "nope"], ["--law", ""], ["--law", "chinchilla"], ["--law",
        "../law/generic"],
        ["--law", "loss = E + A n^-a"], ["--columns", "n"], ["--columns", "x=y"], ["--columns", "n=nope"],
        ["--nope"], ["extra"],
    )),
    ["{study}", "--next", "{table}"], ["{study}", "--next", "{folder}"], ["{study}", "--next", "/proc/x/y.yaml"],
)  # fmt: skip

AUDIT = (
    *([path] for path in (*FILES, "{garbage}.npz", "{garbage}.h5", "{garbage}.parquet", "{empty}.npz",
    "{empty}.h5", "{table}")),
    *(["{embeddings}", *rest] for rest in (
        ["--columns", "z"], ["--columns", "z="], ["--columns", "=z"], ["--columns", "z=nope"], ["--columns",
        "nope=z"],
        ["--columns", "z=text"], ["--columns", "z=scalar"], ["--columns", "z=nans"], ["--columns", "z_next=short"],
        ["--columns", "trajectory=nope"], ["--columns", "action=short"], ["--columns", "weight=nans"],
        ["--columns", "weight=negative"], ["--tokens", "nope"], ["--tokens", ""],
        ["--widths"], ["--widths", "0"], ["--widths", "-1"], ["--widths", "x"], ["--widths", "1.5"],
        ["--widths", "1000000000000"],
        ["--components", "0"], ["--components", "-1"], ["--components", "1000000000000"], ["--dictionary", "-1"],
        ["--dictionary", "1"], ["--dictionary", "1000000000000"], ["--dictionary", "x"], ["--resolution", "0"],
        ["--resolution", "-1"],
        ["--resolution", "nan"], ["--resolution", "inf"], ["--resolution", "x"], ["--cells", "0"], ["--cells", "3"],
        ["--cells", "-2"], ["--cells", "1099511627776"], ["--train-n", "0"], ["--train-n", "-1"], ["--train-n",
        "nan"], ["--train-n", "inf"],
        ["--fit", "{missing}"], ["--fit", "{folder}"], ["--fit", "{garbage}.json"], ["--fit", "{embeddings}"],
        ["--level", "0"],
        ["--level", "1"], ["--level", "nan"], ["--seed", "-1"], ["--seed", "x"], ["--seed",
        "99999999999999999999"], ["--threads", "0"],
        ["--threads", "-1"], ["--threads", "1000000"], ["--folder", "{table}"], ["--folder", "{table}/below"],
        ["--folder", "/proc/x"],
        ["--nope"], ["extra"],
    )),
)  # fmt: skip

DATA = (
    *([path] for path in (*FILES, "{garbage}.h5", "{garbage}.npz", "{garbage}.pt", "{empty}.h5", "{empty}.npz",
    "{table}", "{embeddings}")),
    *(["{episodes}", *rest] for rest in (
        ["--format", "nope"], ["--format", ""], ["--format", "lerobot"], ["--format", "minari"], ["--format",
        "store"],
        ["--observation", "nope"], ["--observation", ""], ["--action", "nope"], ["--frameskip", "0"],
        ["--frameskip", "-1"], ["--frameskip", "1000000"], ["--frameskip", "1.5"], ["--frameskip", "x"],
        ["--seed", "-1"], ["--seed", "x"], ["--seed", "1.5"], ["--to", "{episodes}"], ["--to", "{folder}"],
        ["--to", "/proc/x/out.h5"], ["--to", "{table}/out.h5"], ["--verify"], ["--nope"], ["extra"],
    )),
)  # fmt: skip

THEORY = (
    ["--trials", "0"], ["--trials", "-1"], ["--trials", "x"], ["--trials", "1e3"], ["--trials", "1000000000000"],
    ["--workers", "0"], ["--workers", "-1"], ["--workers", "100000"], ["--workers", "x"], ["--seed", "-1"],
    ["--seed", "x"],
    ["--seed", "99999999999999999999"],
    ["--folder", "{table}"], ["--folder", "{table}/below", "--trials", "1"], ["--folder", "/proc/x", "--trials", "1"],
    *(["--replay", path] for path in (*FILES, "{garbage}.json", "{empty}.json", "{table}", "{number}.json",
    "{list}.json")),
    ["--nope"], ["world=point_mass", "planner=cem"], ["world=torus", "planner.score=inner"],
    ["world=recorded", "planner=none"],
)  # fmt: skip

STATUS = (
    *([path, *options] for path in (*FILES, "{run}", "{broken_study}") for options in ([], ["--json"])),
    *(["{study}", "--watch", seconds] for seconds in ("0", "-1", "nan", "inf", "x", "1e9", "")),
    ["--watch", "{missing}"], [], ["--nope", "{study}"], ["{study}", "extra"],
)  # fmt: skip

COLLECT = (
    *([path] for path in (*FILES, "{run}", "{broken_study}")),
    *([address] for address in (
        "wandb:", "wandb:/", "wandb://", "wandb://me", "wandb://me/", "wandb:///x", "wandb://me/x/y",
        "wandb://me/x?", "wandb://me/x?nope=1",
        "wandb://me/x?group=", "wandb://me/x?group=a&group=b", "wandb://me/x?host=", "wandb://me/x", "WANDB://me/x",
        "wandb://me/x?host=http://127.0.0.1:1", "https://wandb.ai/me/x", "http://x", "wandb://ünï/cödé",
    )),
    ["{study}", "--columns", "n=x"], ["{study}", "--columns", "n"], ["{study}", "--out", "{table}"],
    ["{study}", "--nope"],
    ["{study}", "extra"], ["wandb://me/x", "--columns", "n"], ["wandb://me/x", "--out", "{folder}"],
    ["wandb://me/x", "--out", "x.nope"], ["wandb://me/x", "--out", "{table}/x.parquet"],
)  # fmt: skip

SYNC = (
    *([path] for path in (*FILES, "{garbage}.csv", "{table}", "/proc/1")),
    *(["{study}", *rest] for rest in (
        ["-n", "0"], ["-n", "-1"], ["-n", "x"], ["-n", "1.5"], ["-n", ""], ["-n", "nan"], ["-n"], ["-n", "1e3"],
        ["--entity"], ["--project"],
        ["--nope"], ["extra"], ["--dry-run=1"], ["--folder", "x"], ["key=value"], ["-n", "0", "--dry-run"],
        ["-n", "-3", "--dry-run"],
        ["--dry-run", "--report"],
    )),
    [],
)  # fmt: skip

DASHBOARD = (
    *([path] for path in (*FILES, "{run}", "{broken_study}", "{table}", "{planned}")),
    *(["{study}", "--dry-run", *rest] for rest in (
        ["--entity", "a b"], ["--entity", ""], ["--entity", "a/b"], ["--entity", "\n"], ["--project", "a/b"],
        ["--project", ""], ["--project", "a?b"], ["--project", " "], ["--project"], ["--nope"], ["extra"],
        ["key=value"], [],
        ["--entity", "a\\b"], ["--project", "a#b"], ["--project", "a%b"], ["--project", "a:b"],
    )),
    [],
)  # fmt: skip

REPORT = (
    *([path] for path in (*FILES, "{run}", "{table}", "{broken_study}", "{garbage}.csv")),
    *([path, "{study}"] for path in (*FILES, "{run}")),
    ["{study}", "--out", "{table}"], ["{study}", "{study}", "--out", "{table}"], ["{study}", "--nope"], ["{study}",
    "--out"], [],
    ["{study}", "{planned}", "--out", "{folder}"], ["{study}", "{planned}", "--out", "/proc/x.html"], ["{study}",
    "{planned}", "--out", "{table}/x.html"],
    ["{study}", "key=value"],
)  # fmt: skip

CANCEL = (
    *([path] for path in (*FILES, "{run}", "{table}", "{broken_study}", "{garbage}.csv", "{embeddings}",
    "{study}/runs", "{study}/study.yaml")),
    *([path, "{study}"] for path in FILES), *(["{study}", rest] for rest in ("--nope", "--json", "--watch",
    "key=value", "-n", "--folder")),
    [],
)  # fmt: skip

EVALUATE = (
    *([path] for path in (*FILES, "{garbage}.ckpt", "{empty}.ckpt", "{table}", "{embeddings}", "{planned}")),
    *(["{run}", text] for text in (
        "evaluation.episodes=0", "evaluation.episodes=-1", "evaluation.episodes=1e12",
        "evaluation.episodes=1000000000000", "evaluation.nope=1", "evaluation=nope",
        "evaluation.required_steps=[]", "evaluation.required_steps=[0]", "evaluation.required_steps=3",
        "evaluation.success=x",
        "evaluation.pairs=0", "planner=cem", "planner=none", "planner=nope", "planner.horizon=0",
        "planner.horizon=30",
        "planner.score=cosine", "world=torus", "world.hidden.side=100000", "world.hidden.slip=2.0", "world.nope=1",
        "world.observation_size=7", "world._target_=os.system", "data.n=3", "data.heldout=3",
        "data.heldout=1000000000000", "data.heldout=nan", "model.k=3",
        "seed=3", "trainer.threads=3", "nonsense=1", "=", "x=", "ü=1", "world.hidden.slip=nan",
    )),
    ["evaluation.episodes=3"], ["{run}", "--nope"], [], ["{run}", "{missing}"],
)  # fmt: skip

FINETUNE = (
    *([path] for path in (*FILES, "{garbage}.ckpt", "{empty}.ckpt", "{table}", "{planned}")),
    *(["{run}", *texts] for texts in (
        ["finetune=none"], ["finetune=nope"], ["finetune="], ["finetune"], ["model.k=3"], ["optimizer.lr=0.1"],
        ["nonsense=1"], ["seed=1"],
        ["finetune=amortised"], ["finetune=distill"], ["finetune.nope=1"], ["finetune.horizon=0"],
        ["finetune.horizon=-1"], ["finetune.horizon=1000000"], ["finetune.horizon=1.5"], ["finetune.horizon=x"],
        ["finetune.schedule=3"], ["finetune.schedule.lr=0"], ["finetune.schedule.lr=nan"],
        ["finetune.schedule.lr=-1"],
        ["finetune.schedule.epochs=0"], ["finetune.schedule.epochs=1000000000000"],
        ["finetune.schedule.steps_per_epoch=0"],
        ["finetune.schedule.trained=[]"], ["finetune.schedule.trained=[nope]"], ["finetune.schedule.trained=encoder"],
        ["finetune.schedule.trained=[3]"], ["finetune._target_=os.system"],
        ["finetune.schedule._target_=os.system"], ["logger.mode=bogus"], ["=", "x"],
        ["--nope"], ["--folder", "{table}"], ["--folder", "{study}"], ["--folder", "/proc/x"], ["--folder",
        "{table}/below"],
    )),
    [],
)  # fmt: skip

LAUNCHER = (
    "launcher=moon", "launcher=", "launcher", "launcher.nope=1", "launcher.time=abc", "launcher.time=-1",
    "launcher.workers=0",
    "workers=0", "workers=-1", "workers=1.5", "workers=x", "workers=nan", "workers=1000000000000", "workers=",
    "launcher.minutes=0",
    "launcher.minutes=nan", "launcher.minutes=-1", "launcher.cpus_per_task=0", "launcher.attempts=0",
    "launcher.linger=-1", "launcher.signal_seconds=-1",
    "launcher.options=[x]", "launcher.options=3", "launcher.options=x", "launcher.setup=3",
    "launcher.partition=3", "launcher.storage=nope", "launcher.storage=3",
    "launcher.storage=sqlite:///x.db", "launcher.collect=maybe", "launcher.memory_per_cpu=4", "data.n=300",
    "model.k=3", "seed=3", "arms=3",
)  # fmt: skip

PLACES = (
    ["--folder", "{table}"],
    ["--folder", "{run}"],
    ["--folder", "/proc/x"],
    ["--folder", "{table}/below"],
    ["--folder"],
    ["--nope"],
)

COMMANDS = {
    "train": [
        *overrides(["logger=none"]), *([*world, "logger=none"] for world in WORLDS), *overrides(["--show"])[:70:7],
        *(["logger=none", *place] for place in PLACES), ["logger=none", "--folder", "{study}"],
    ],
    "study": [
        *([path] for path in FILES), *(["{spec}", text] for text in (*CONFIGURATION, *IN_LOWRANK)),
        *(["{spec}", text] for text in LAUNCHER), ["{spec}", "launcher=slurm"], *(["{spec}",
        *place] for place in PLACES),
        *([f"{{studies}}/{index}.yaml"] for index in range(len(STUDY_FILES))),
    ],
    "sweep": [
        *([path, *DRY] for path in FILES), *(["{spec}", *DRY, text] for text in (*CONFIGURATION, *IN_LOWRANK)),
        *(["{spec}", *DRY, text] for text in LAUNCHER), ["{spec}", "--dry-run"], [], ["{spec}", *DRY, "--nope"],
        *([f"{{studies}}/{index}.yaml", *DRY] for index in range(len(STUDY_FILES))),
    ],
    "theory": [*THEORY, *overrides(["--trials", "1", "--workers", "1"])[:90:3], *(["--trials", "1",
    *world] for world in WORLDS)],
    "finetune": FINETUNE, "report": REPORT, "status": STATUS, "cancel": CANCEL, "collect": COLLECT, "sync": SYNC,
    "dashboard": DASHBOARD, "evaluate": EVALUATE, "audit": AUDIT, "fit": FIT, "advise": ADVISE, "data": DATA,
}  # fmt: skip
