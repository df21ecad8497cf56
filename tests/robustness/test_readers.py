"""Files of strangers, damaged in every way we know: each reader gives a value or one sentence that names the file."""

import csv
import gzip
import io
import json
import os
import pickle
import struct
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from wandb.proto import wandb_internal_pb2 as messages

from jepa_scale.auditing.audit import run_audit
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.cli.app import main
from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import close_files
from jepa_scale.data.store import write_episodes
from jepa_scale.integrations.wandb.files import read_runs
from jepa_scale.integrations.wandb.importing import import_runs
from jepa_scale.studies.tables.columns import Columns
from jepa_scale.studies.tables.reading import read_tables
from jepa_scale.worlds.tabular import Tabular
from tests.data.external.test_lerobot import FEATURES, put, table
from tests.data.external.test_minari import write as write_minari
from tests.data.external.test_overcooked import rows as overcooked_rows
from tests.data.external.test_overcooked import write as write_overcooked
from tests.data.recorded import episodes, walk

SEED = 20260901
FLIPS = 10
"""Copies of each file with some of their bytes changed."""

DEEP = 100_000
HUGE = "1" + "0" * 399
TEXTS = {
    "nothing": "", "a space": " ", "an empty object": "{}", "an empty list": "[]", "null": "null", "a number": "3",
    "a text": '"text"', "a list of numbers": "[1, 2]", "nested lists": "[" * DEEP, "nested objects": '{"a":' * DEEP,
    "closed nested lists": "[" * DEEP + "]" * DEEP, "400 digits": HUGE, "5000 digits": "1" * 5000, "no number": "NaN",
    "infinity": "[Infinity]", "half an object": '{"a": ', "a pair": '{"a": 1}', "control characters": "\x00\x1b[2J\n",
    "a byte order mark": "\ufeff{}", "lines": "\n\r\n\u2028\n", "commas": ",,,\n,,\n", "quotes": '"' * 999,
}  # fmt: skip
BINARY = {
    "UTF-16": "{\"a\": 1}".encode("utf-16"), "latin-1": "Größe,ñ\n1,2\n".encode("latin-1"), "zeros": bytes(5000),
    "ones": b"\xff" * 5000, "HDF5's first bytes": b"\x89HDF\r\n\x1a\n" + bytes(600), "a zip's": b"PK\3\4" + bytes(60),
    "an empty zip": b"PK\5\6" + bytes(18), "parquet's": b"PAR1" + bytes(20) + b"PAR1", "W&B's": b":W&B\xe1\xbe\0",
    "numpy's": b"\x93NUMPY\1\0\x76\0{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }" + b" " * 40,
    "a pickle": pickle.dumps({"a": 1}), "an image": b"\x89PNG\r\n\x1a\n" + bytes(99),
}  # fmt: skip
VALUES = (
    None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "nan", "3", "a\nb", "x" * 5000, "../../x",
    [], [[]], {}, {"a": {}},
)  # fmt: skip
"""What may stand in place of any value of a JSON text."""
ARRAYS = (
    np.zeros(0), np.zeros((0, 3)), np.zeros((20, 0)), np.float64(3), np.full(20, np.nan), np.full((20, 2), np.inf),
    np.full(20, -1), np.full(20, 2**62), np.full(20, 2**64 - 1, np.uint64), np.zeros(3), np.zeros((20, 2, 2, 2, 2)),
    np.array(["a\nb"] * 20), np.array([b"a"] * 20), np.zeros(20, bool), np.zeros(20, complex), np.full(20, 1e308),
    np.zeros(20, "datetime64[s]"), np.zeros(20, [("a", float)]),
)  # fmt: skip
"""What may stand in place of any array."""


# One small valid file of each kind


def flat_arrays(generator):
    observations, actions, lengths = walk(generator)
    return {"observations": observations, "actions": np.nan_to_num(actions), "ep_len": lengths, "states": observations}


def plain(folder, generator):
    np.savez(folder / "plain.npz", **flat_arrays(generator))
    return folder / "plain.npz"


def ogbench(folder, generator):
    arrays = flat_arrays(generator)
    ends = np.zeros(20)
    ends[np.cumsum(arrays.pop("ep_len")) - 1] = 1
    np.savez_compressed(folder / "ogbench.npz", terminals=ends, qpos=arrays.pop("states"), **arrays)
    return folder / "ogbench.npz"


def store(folder, generator):
    return write_episodes(episodes(generator), folder / "store.h5")


def chunked(folder, generator):
    arrays = flat_arrays(generator)
    with h5py.File(folder / "chunked.h5", "w") as file:
        file.create_dataset("observation", data=arrays["observations"], chunks=(5, 2), compression="gzip")
        file["group/other"] = h5py.SoftLink("/observation")
        file["action"], file["ep_len"] = arrays["actions"], arrays["ep_len"]
        file["ep_offset"], file["step_idx"] = np.cumsum(arrays["ep_len"]) - arrays["ep_len"], np.ones(20)
    return folder / "chunked.h5"


def minari(folder, generator):
    observations, actions, lengths = walk(generator)
    parts = {}
    for number, (stop, length) in enumerate(zip(np.cumsum(lengths), lengths, strict=True)):
        seen = observations[stop - length : stop]
        parts[number] = ({"left": seen, "right": {"up": seen}}, actions[stop - length : stop - 1])
    return write_minari(folder / "minari", parts, {"action_space": json.dumps({"type": "Box"})})


def minari_images(folder, generator):
    from PIL import Image

    def encoded():
        held = io.BytesIO()
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(held, "JPEG")
        return np.frombuffer(held.getvalue(), np.uint8)

    parts = {0: ([encoded() for _ in range(4)], np.array([0, 1, 0]))}
    space = {"action_space": {"type": "Discrete", "n": 2, "start": 0}}
    return write_minari(folder / "minari_images", parts, space)


def lerobot_3(folder, generator):
    """Two files of rows for three episodes: the first one ends within the third."""
    observations, actions, lengths = walk(generator)
    root, stops = folder / "lerobot_3", np.cumsum(lengths)
    for number, rows in enumerate((slice(0, 13), slice(13, 20))):
        put(root / f"data/chunk-000/file-{number:03d}.parquet", table(observations, actions, lengths, rows))
    meta = {"episode_index": [0, 1, 2], "dataset_from_index": stops - lengths, "dataset_to_index": stops}
    put(root / "meta/episodes/chunk-000/file-000.parquet", pa.table(meta))
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", "features": FEATURES}))
    return root


def lerobot_2(folder, generator):
    """A file for each episode."""
    observations, actions, lengths = walk(generator)
    root, stops = folder / "lerobot_2", np.cumsum(lengths)
    for number, (stop, length) in enumerate(zip(stops, lengths, strict=True)):
        rows = table(observations, actions, lengths, slice(stop - length, stop))
        put(root / f"data/chunk-000/episode_{number:06d}.parquet", rows)
    (root / "meta").mkdir()
    lines = [json.dumps({"episode_index": number, "length": int(length)}) for number, length in enumerate(lengths)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    info = {"codebase_version": "v2.1", "features": FEATURES, "chunks_size": 1000, "data_path": DATA_PATH}
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def dino_wm(folder, generator):
    root, lengths = folder / "dino_wm", torch.tensor([4, 3])
    (root / "obses").mkdir(parents=True)
    torch.save(torch.from_numpy(generator.normal(size=(2, 4, 3))), root / "states.pth")
    torch.save(torch.from_numpy(generator.normal(size=(2, 4, 2))), root / "actions.pth")
    torch.save(lengths, root / "seq_lengths.pth")
    for number in range(2):
        frames = generator.integers(0, 255, (4, 6, 6, 3), dtype=np.uint8)
        torch.save(torch.from_numpy(frames), root / "obses" / f"episode_{number:03d}.pth")
    return root


def overcooked(folder, generator):
    return write_overcooked(folder / "trials.csv", overcooked_rows("a") + overcooked_rows("b"))


DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
RECORDED = (plain, ogbench, store, chunked, minari, minari_images, lerobot_3, lerobot_2, dino_wm, overcooked)


def embeddings(generator):
    z = generator.normal(size=(20, 2))
    return {"z": z, "z_next": z + 1, "action": generator.integers(0, 2, 20), "trajectory": np.repeat(np.arange(4), 5)}


def audit_npz(folder, generator):
    np.savez(folder / "z.npz", **embeddings(generator))
    return folder / "z.npz"


def audit_compressed(folder, generator):
    np.savez_compressed(folder / "zip.npz", **embeddings(generator))
    return folder / "zip.npz"


def audit_folder(folder, generator):
    (folder / "z").mkdir()
    for name, values in embeddings(generator).items():
        np.save(folder / "z" / f"{name}.npy", values)
    return folder / "z"


def audit_hdf5(folder, generator):
    with h5py.File(folder / "z.h5", "w") as file:
        for name, values in embeddings(generator).items():
            file[name] = values
    return folder / "z.h5"


def audit_parquet(folder, generator):
    columns = {name: pa.array(values.tolist()) for name, values in embeddings(generator).items()}
    pq.write_table(pa.table(columns), folder / "z.parquet")
    return folder / "z.parquet"


AUDITED = (audit_npz, audit_compressed, audit_folder, audit_hdf5, audit_parquet)


def runs_columns():
    cells = [(n, k, seed) for n in (100, 200) for k in (2, 4) for seed in (0, 1)]
    return {"n": [c[0] for c in cells], "k": [c[1] for c in cells], "regret": [0.1 + 1 / sum(c) for c in cells],
            "run": [f"r{number}" for number in range(len(cells))]}  # fmt: skip


def table_csv(folder, generator):
    columns = runs_columns()
    with (folder / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    return folder / "runs.csv"


def table_lines(folder, generator):
    columns = runs_columns()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "runs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / "runs.jsonl"


def table_parquet(folder, generator):
    pq.write_table(pa.table(runs_columns()), folder / "runs.parquet")
    return folder / "runs.parquet"


def table_packed(folder, generator):
    """Semicolons and decimal commas, packed."""
    columns = runs_columns()
    rows = [columns, *zip(*columns.values(), strict=True)]
    text = "\n".join(";".join(str(cell).replace(".", ",") for cell in row) for row in rows)
    (folder / "runs.csv.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    return folder / "runs.csv.gz"


def table_array(folder, generator):
    columns = runs_columns()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    nested = [{"run": row.pop("run"), "config": {"all": row}} for row in rows]
    (folder / "runs.json").write_text(json.dumps(nested))
    return folder / "runs.json"


TABLES = (table_csv, table_lines, table_parquet, table_packed, table_array)


def kernel(folder, generator):
    np.savez(folder / "kernel.npz", P=generator.dirichlet(np.ones(5), (2, 5)), observations=np.eye(5))
    return folder / "kernel.npz"


# W&B's files


def wandb_bytes(records):
    """Records as pieces of a LevelDB log of one block, with checksums that hold."""
    content = b":W&B\xe1\xbe\0"
    for record in records:
        piece = record if isinstance(record, bytes) else record.SerializeToString()
        content += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(b"\1")), len(piece), 1) + piece
    return content


def wandb_records(run_id, k, config=None, summary=None, history=None):
    """Messages of a run of this project that has finished."""
    told = {"run/status": "finished", "epoch": 1}
    told |= {f"dials/{name}": 1 for name in ("seed", "parameters", "flops_per_step")}
    told |= {"dials/n": 100, "dials/k": k} | (summary or {})
    run, kept, row, end = messages.Record(), messages.Record(), messages.Record(), messages.Record()
    run.run.run_id, run.run.project = run_id, "sweep"
    for key, value in {"planner": {"score": "distance"}, "n": 100, "k": k, **(config or {})}.items():
        run.run.config.update.add(key=key, value_json=value if isinstance(value, bytes | str) else json.dumps(value))
    for key, value in told.items():
        kept.summary.update.add(key=key, value_json=value if isinstance(value, bytes) else json.dumps(value))
    for key, value in ({"epoch": 1, "regret/distance": 0.2} | (history or {})).items():
        row.history.item.add(key=key, value_json=value if isinstance(value, bytes) else json.dumps(value))
    end.exit.exit_code = 0
    return [run, row, kept, end]


def wandb_file(folder, run_id, content):
    place = folder / f"offline-run-20260101_000000-{run_id}"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"run-{run_id}.wandb").write_bytes(content)
    return place / f"run-{run_id}.wandb"


# Damage


def damaged_bytes(content, generator):
    """The content of a file, wrong in one way each."""
    yield "half", content[: len(content) // 2]
    yield "without its end", content[:-3]
    yield "without its start", content[3:]
    yield "twice", content * 2
    yield "with a tail", content + b"\0" * 777
    places = _flippable(content)
    for number in range(FLIPS):
        flipped = np.frombuffer(content, np.uint8).copy()
        chosen = generator.choice(places, 1 + number % 4)
        flipped[chosen] = generator.integers(0, 256, len(chosen))
        yield f"flip {number}", flipped.tobytes()
    for number in range(4):
        holed = np.frombuffer(content, np.uint8).copy()
        first = int(generator.integers(0, len(places)))
        holed[places[first : first + 64]] = 0
        yield f"hole {number}", holed.tobytes()
    yield from ((name, text.encode()) for name, text in TEXTS.items())
    yield from BINARY.items()


def _flippable(content):
    """Places in a file, but for HDF5's heaps of texts: the library never comes back from a text of no size in them."""
    allowed, start = np.ones(len(content), bool), content.find(b"GCOL")
    while start >= 0:
        allowed[start : start + int.from_bytes(content[start + 8 : start + 16], "little")] = False
        start = content.find(b"GCOL", start + 4)
    return np.flatnonzero(allowed)


def damaged_values(value, generator, most=8):
    """A JSON value with one part of it left out or of another kind, for every part of it."""
    for path in list(_paths(value)):
        for other in ("gone", *(VALUES[i] for i in generator.choice(len(VALUES), most, replace=False))):
            changed = json.loads(json.dumps(value))
            place = changed
            for key in path[:-1]:
                place = place[key]
            if other == "gone":
                del place[path[-1]]
            else:
                place[path[-1]] = other
            yield f"{'.'.join(map(str, path))}={str(other)[:20]!r}", changed


def _paths(value, before=()):
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield (*before, key)
        yield from _paths(inner, (*before, key))


def damaged_arrays(arrays):
    """Arrays of which one is gone or something else."""
    for name in arrays:
        yield f"no {name}", {other: values for other, values in arrays.items() if other != name}
        for other in ARRAYS:
            yield f"{name}={other.dtype}{other.shape}", {**arrays, name: other}
        yield f"{name} with a line break", {("a\nb" if one == name else one): values for one, values in arrays.items()}


class Tally:
    """What readers did with damaged files, and whatever they should not have done."""

    def __init__(self, read):
        self.read, self.count, self.refused, self.wrong = read, 0, 0, []

    def attempt(self, path, label):
        """Read a damaged file: a value, or one line that names it and is our own."""
        self.count += 1
        try:
            self.read(path)
        except Exception as error:
            self.refused, said = self.refused + 1, str(error)
            ours = type(error) is ValueError or type(error).__module__.startswith("jepa_scale.")
            if not ours or not isinstance(error, ValueError):
                self.wrong.append(f"{label}: {type(error).__module__}.{type(error).__name__}: {said[:150]!r}")
            elif len(said.splitlines()) != 1 or str(path) not in said or len(said) > 3000:
                self.wrong.append(f"{label}: no line that names the file: {said[:200]!r}")
        finally:
            close_files()

    def check(self):
        print(f"\n{self.count} damaged files, {self.refused} refused, {len(self.wrong)} wrong")
        assert self.refused > 0
        assert not self.wrong, f"{len(self.wrong)} of {self.count}:\n" + "\n".join(self.wrong)


def every_byte(tally, path, generator):
    """Damage every file at or below a path, one at a time; then put a folder in its place, and nothing."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    for file in files:
        content = file.read_bytes()
        for label, damaged in damaged_bytes(content, generator):
            file.write_bytes(damaged)
            tally.attempt(path, f"{file.name}, {label}")
        file.unlink()
        if file != path:
            tally.attempt(path, f"{file.name}, none")
        file.mkdir()
        tally.attempt(path, f"{file.name}, a folder")
        file.rmdir()
        file.write_bytes(content)


def touch(path, **options):
    """Read episodes and look at all of them."""
    found = read_episodes(path, **options)
    np.asarray(found.observations)
    assert len(found.checksum) == 64


def look(path):
    run_audit(path, AuditSettings(dictionary=0, threads=1))


def load_table(path):
    columns = Columns(read_tables([path]), {})
    for name in ("n", "k", "regret"):
        columns.numbers(name)
    columns.texts("run")


def load_kernel(path):
    Tabular(path=str(path))


@pytest.fixture
def fixed():
    return np.random.default_rng(SEED)


pytestmark = pytest.mark.filterwarnings("ignore")
"""Warnings of libraries about damaged numbers are nobody's concern here."""


@pytest.mark.parametrize(
    ("build", "read"),
    [
        *((one, touch) for one in RECORDED), *((one, look) for one in AUDITED),
        *((one, load_table) for one in TABLES), (kernel, load_kernel),
    ],
    ids=lambda one: one.__name__,
)  # fmt: skip
def test_damaged_bytes(build, read, tmp_path, fixed):
    path = build(tmp_path, fixed)
    read(path)
    tally = Tally(read)
    every_byte(tally, path, fixed)
    tally.check()


def test_damaged_descriptions(tmp_path, fixed):
    """JSON that parses and says something else."""
    tally = Tally(touch)
    for build, name in (
        (lerobot_2, "meta/info.json"), (lerobot_3, "meta/info.json"), (minari_images, "data/metadata.json"),
    ):  # fmt: skip
        path = build(tmp_path, fixed)
        file = path / name
        for label, changed in damaged_values(json.loads(file.read_text()), fixed):
            file.write_text(json.dumps(changed))
            tally.attempt(path, f"{build.__name__}, {label}")
    tally.check()


def test_damaged_lines(tmp_path, fixed):
    """Lines of JSON of which one says something else."""
    tally, path = Tally(touch), lerobot_2(tmp_path, fixed)
    listing = path / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in listing.read_text().splitlines()]
    for label, changed in damaged_values(rows, fixed):
        listing.write_text("".join(f"{json.dumps(row)}\n" for row in changed))
        tally.attempt(path, label)
    tally.check()
    tally, path = Tally(load_table), table_lines(tmp_path, fixed)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for label, changed in damaged_values(rows, fixed, 5):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in changed))
        tally.attempt(path, label)
    tally.check()


def test_damaged_states_of_overcooked(tmp_path, fixed):
    tally, path = Tally(touch), tmp_path / "trials.csv"
    rows = overcooked_rows()
    for label, changed in damaged_values(rows[-1], fixed):
        changed = {
            name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in changed.items()
        }
        whole = {name: changed.get(name) for name in rows[0]}
        write_overcooked(path, [*rows[:-1], whole])
        tally.attempt(path, label)
    for text in ("(" * DEEP, "-" * DEEP + "1", "1" + "+1" * DEEP, "[" * DEEP, "__import__('os').getpid()", "1" * 5000):
        write_overcooked(path, [*rows[:-1], rows[-1] | {"state": text}])
        tally.attempt(path, text[:20])
    tally.check()


def save_npz(path, arrays):
    np.savez(path, **arrays)


def save_hdf5(path, arrays):
    # HDF5 has neither texts of fixed width nor dates.
    kinds = {"U": "S9", "M": "i8"}
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values.astype(kinds.get(values.dtype.kind, values.dtype))


@pytest.mark.parametrize(
    ("name", "save", "read", "arrays"),
    [
        ("plain.npz", save_npz, touch, flat_arrays),
        ("ogbench.npz", save_npz, touch, lambda generator: {
            "observations": np.zeros((20, 2)), "actions": np.ones((20, 2)), "terminals": np.eye(20)[-1]}),
        ("flat.h5", save_hdf5, touch, lambda generator: {
            "observation": generator.normal(size=(20, 2)), "action": generator.normal(size=(20, 2)),
            "ep_len": np.array([20]), "ep_offset": np.array([0]), "step_idx": np.ones(20), "state": np.ones((20, 1))}),
        ("episodes.h5", save_hdf5, touch, lambda generator: {
            "episode_0/observations/a": np.zeros((20, 2)), "episode_0/observations/b": np.zeros((20, 1)),
            "episode_0/actions": np.ones((19, 2))}),
        ("audit.npz", save_npz, look, embeddings), ("audit.h5", save_hdf5, look, embeddings),
        ("kernel.npz", save_npz, load_kernel, lambda generator: {
            "P": np.full((2, 5, 5), 0.2), "observations": np.eye(5), "p": np.full(5, 0.2),
            "goal_groups": np.arange(5)}),
        ("listed.npz", save_npz, load_kernel, lambda generator: {
            "P_action": np.zeros(2, int), "P_state": np.arange(2), "P_next_state": np.arange(2)[::-1].copy(),
            "P_probability": np.ones(2)}),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_damaged_arrays(name, save, read, arrays, tmp_path, fixed):
    tally, path = Tally(read), tmp_path / name
    for label, changed in damaged_arrays(arrays(fixed)):
        save(path, changed)
        tally.attempt(path, label)
    tally.check()


def test_damaged_attributes_of_a_store(tmp_path, fixed):
    tally, path = Tally(touch), store(tmp_path, fixed)
    for name in ("action_space", "notes", "checksum", "source"):
        for text in (*TEXTS.values(), *map(json.dumps, VALUES), b"\xff", 3, [1.0, 2.0], h5py.Empty("f4")):
            with h5py.File(path, "r+") as file:
                try:
                    file.attrs[name] = text
                except (ValueError, OSError):
                    continue  # longer than what an attribute can hold, or not text
            tally.attempt(path, f"{name}={str(text)[:20]!r}")
            with h5py.File(path, "r+") as file:
                del file.attrs[name]
    space = {"count": None, "size": 2, "low": -1.0, "high": 1.0}
    for label, changed in damaged_values(space, fixed):
        with h5py.File(path, "r+") as file:
            file.attrs["action_space"] = json.dumps(changed)
        tally.attempt(path, label)
    tally.check()


# One bad run of many


def whole_runs(folder):
    for number in (1, 2):
        wandb_file(folder, f"good{number}", wandb_bytes(wandb_records(f"good{number}", 2**number)))


def bad_runs(generator):
    """Contents of a .wandb file, each wrong in a way of its own."""
    content = wandb_bytes(wandb_records("bad", 8))
    yield from damaged_bytes(content, generator)
    start = wandb_records("bad", 8)
    for label, piece in BINARY.items():
        yield f"a record of {label}", wandb_bytes([*start[:1], piece[:30000], *start[1:]])
    for label, text in TEXTS.items():
        for where in ("config", "summary", "history"):
            records = wandb_records("bad", 8, **{where: {"epoch": text.encode()[:30000]}})
            yield f"{where} of {label}", wandb_bytes(records)
    keys = ("run/status", "run/reason", "dials/n", "dials/k", "dials/other", "truth/tail", "pretrained/a", "epoch")
    places = [("summary", key) for key in keys]
    places += [("config", "planner"), ("config", "k"), ("history", "epoch"), ("history", "regret/distance")]
    for value in VALUES:
        for where, name in places:
            records = wandb_records("bad", 8, **{where: {name: value}})
            yield f"{where} {name}={str(value)[:20]!r}", wandb_bytes(records)


def test_one_bad_run_is_named_and_the_others_are_read(tmp_path, fixed):
    whole_runs(tmp_path)
    count, wrong = 0, []
    for label, content in bad_runs(fixed):
        count += 1
        path = wandb_file(tmp_path, "bad", content)
        for columns in ({}, {"n": "n", "k": "k", "regret": "epoch"}):
            told = []
            try:
                table, said = import_runs("wandb", read_runs(tmp_path, told.append), columns)
            except Exception as error:
                wrong.append(f"{label}: {type(error).__name__}: {str(error)[:150]!r}")
                continue
            names, sentences = set(table["run_id"].tolist()), [*told, *said]
            if not {"good1", "good2"} <= names:
                wrong.append(f"{label}: only {names}")
            if any(len(one.splitlines()) != 1 for one in sentences) or not all(str(path) in one for one in told):
                wrong.append(f"{label}: {sentences}")
            # Of a run whose end is torn the others do not know: it is counted by its state.
            if "bad" not in names and not any("bad" in one or "left out" in one for one in sentences):
                wrong.append(f"{label}: left out without a word")
    print(f"\n{count} damaged runs, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)


# Nothing of a file is run, and no name in it leads out of its folder


class Payload:
    """A pickle that makes a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """Where a payload would leave its mark; nothing must be there in the end."""
    place = tmp_path / "executed"
    yield place
    assert not place.exists()


def refused(read, path, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(path)
    assert len(str(raised.value).splitlines()) == 1
    close_files()


def test_code_in_pickles_is_not_run(tmp_path, fixed, marker):
    payload = Payload(marker)
    (tmp_path / "trials.pkl").write_bytes(pickle.dumps(payload))
    refused(touch, tmp_path / "trials.pkl", "a pickle, which runs code")
    root = dino_wm(tmp_path, fixed)
    (root / "seq_lengths.pth").unlink()
    (root / "seq_lengths.pkl").write_bytes(pickle.dumps(payload))
    refused(touch, root, r"seq_lengths\.pkl: .*a pickle, which runs code")
    (root / "seq_lengths.pkl").unlink()
    for protocol in (True, False):
        torch.save({"a": payload}, root / "states.pth", _use_new_zipfile_serialization=protocol)
        refused(touch, root, r"states\.pth: expected a tensor, got something that only unpickling opens")
    objects = np.array([payload, None], dtype=object)
    for name in ("observations", "actions", "ep_len"):
        np.savez(tmp_path / "plain.npz", **(flat_arrays(fixed) | {name: objects}))
        refused(touch, tmp_path / "plain.npz", f"expected numbers in {name}, got pickled objects")
    np.savez(tmp_path / "z.npz", z=objects)
    refused(look, tmp_path / "z.npz", "pickled objects, which are not opened")
    np.savez(tmp_path / "kernel.npz", P=objects)
    refused(load_kernel, tmp_path / "kernel.npz", "P holds pickled objects")
    np.save(tmp_path / "kernel.npz.npy", objects)
    (tmp_path / "kernel.npz.npy").rename(tmp_path / "kernel.npz")
    refused(load_kernel, tmp_path / "kernel.npz", "got neither arrays nor an archive")


def bomb(levels):
    """Lists of ten times the same list: few bytes in a file, 10^levels values as an array."""
    held = [1] * 10
    for _ in range(levels):
        held = [held] * 10
    return held


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(bomb(12)), b"(" * DEEP + b".", b"\x80\x04" + b"]" * DEEP + b"a" * (DEEP - 1) + b".", b"garbage", b"",
     pickle.dumps({1: 2}), pickle.dumps([[1]]), pickle.dumps([10**400, 1]), pickle.dumps([])],
    ids=["shared", "marks", "nested", "garbage", "nothing", "dictionary", "list of lists", "400 digits", "empty"],
)  # fmt: skip
def test_a_pickle_that_may_be_opened_ends_in_one_line(content, tmp_path, fixed):
    root = dino_wm(tmp_path, fixed)
    (root / "seq_lengths.pth").unlink()
    (root / "seq_lengths.pkl").write_bytes(content)
    refused(lambda path: touch(path, allow_pickle=True), root, "seq_lengths|lengths from 1 to 4")


OUTSIDE = ("../outside.parquet", "{absolute}", "linked/outside.parquet", "../{episode_index}/../../x", "~x/\x00")


@pytest.mark.parametrize("template", OUTSIDE, ids=["dots", "absolute", "link", "number", "zero byte"])
def test_templates_lead_nowhere_else(template, tmp_path, fixed):
    root = lerobot_2(tmp_path, fixed)
    outside = tmp_path / "outside.parquet"
    outside.write_bytes((root / "data/chunk-000/episode_000000.parquet").read_bytes())
    (root / "linked").symlink_to(tmp_path)
    info = json.loads((root / "meta/info.json").read_text())
    info["data_path"] = template.replace("{absolute}", str(outside))
    (root / "meta/info.json").write_text(json.dumps(info))
    refused(touch, root, r"info\.json: expected names of files")


STRANGE = (
    "{episode_index.__class__}", "{episode_index:0999999999d}", "{0}", "{", "{episode_index!r:>9999999999}", 3, "{x}",
)  # fmt: skip


@pytest.mark.parametrize("template", STRANGE)
def test_templates_hold_numbers_of_episodes_only(template, tmp_path, fixed):
    root = lerobot_2(tmp_path, fixed)
    info = json.loads((root / "meta/info.json").read_text()) | {"data_path": template}
    (root / "meta/info.json").write_text(json.dumps(info))
    refused(touch, root, r"info\.json: expected data_path such as data/chunk")


def test_the_hub_s_cache_of_links_is_read(tmp_path, fixed):
    root = tmp_path / "datasets--a--b" / "snapshots" / "0123"
    root.parent.mkdir(parents=True)
    lerobot_2(tmp_path, fixed).rename(root)
    blobs = root.parent.parent / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(one for one in root.rglob("*") if one.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    touch(root)


def with_external_link(path, other):
    with h5py.File(path, "r+") as file:
        del file["action"]
        file["action"] = h5py.ExternalLink(str(other), "/action")


def with_virtual_rows(path, other):
    layout = h5py.VirtualLayout(shape=(20, 2), dtype="f4")
    layout[:] = h5py.VirtualSource(str(other), "action", shape=(20, 2))
    with h5py.File(path, "r+") as file:
        del file["action"]
        file.create_virtual_dataset("action", layout)


def with_raw_rows(path, other):
    with h5py.File(path, "r+") as file:
        del file["action"]
        file.create_dataset("action", (20, 2), "f4", external=[(str(other), 0, 160)])


def with_a_virtual_file_that_leads_on(path, other):
    middle = path.with_name("middle.h5")
    middle.write_bytes(path.read_bytes())
    with_virtual_rows(middle, other)
    with_virtual_rows(path, middle.name)


@pytest.mark.parametrize(
    "change", [with_virtual_rows, with_raw_rows, with_a_virtual_file_that_leads_on, with_external_link]
)
@pytest.mark.parametrize("way", ["absolute", "relative", "linked"])
def test_no_part_of_an_hdf5_file_lies_elsewhere(change, way, tmp_path, fixed):
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").mkdir()
    path, secret = store(tmp_path / "inside", fixed), store(tmp_path / "outside", fixed)
    (path.parent / "link.h5").symlink_to(secret)
    names = {"absolute": secret, "relative": f"../outside/{secret.name}", "linked": "link.h5"}
    change(path, names[way])
    refused(touch, path, r"\.h5: expected (names of files in .*leads out of it|rows in the file itself)")
    columns = path.with_name("z.h5")
    path.rename(columns)
    refused(look, columns, r"\.h5: expected (names of files in .*leads out of it|rows in the file itself)")


def test_a_link_in_a_linked_file_is_relative_to_that_file(tmp_path, fixed):
    """The name leads to a harmless file seen from the first one, and out of the folder from the second."""
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    path, secret = store(tmp_path / "inside", fixed), store(tmp_path, fixed)
    middle = path.parent / "sub" / "middle.h5"
    middle.write_bytes(path.read_bytes())
    path.with_name("part.h5").write_bytes(path.read_bytes())
    middle.with_name("part.h5").symlink_to(secret)
    with_external_link(middle, "part.h5")
    with_external_link(path, "sub/middle.h5")
    refused(touch, path, r"middle\.h5: expected names of files in .*leads out of it")


def test_parts_of_an_hdf5_file_beside_it_are_read(tmp_path, fixed):
    path = store(tmp_path, fixed)
    expected = read_episodes(path).checksum
    path.with_name("part.h5").write_bytes(path.read_bytes())
    with_virtual_rows(path, "part.h5")
    assert read_episodes(path).checksum == expected
    close_files()
    path.with_name("part.h5").unlink()
    refused(touch, path, "expected the file part.h5 that it names beside it, got none")


def test_minari_s_links_lead_nowhere_else(tmp_path, fixed):
    root = minari(tmp_path, fixed)
    secret = tmp_path / "secret.h5"
    secret.write_bytes((root / "data/main_data.hdf5").read_bytes())
    with h5py.File(root / "data/main_data.hdf5", "r+") as file:
        del file["episode_1"]
        file["episode_1"] = h5py.ExternalLink(str(secret), "/episode_1")
    refused(touch, root, "leads out of it and is not opened")
    with h5py.File(root / "data/main_data.hdf5", "r+") as file:
        del file["episode_1"]
        file["episode_1"] = h5py.SoftLink("/")
    refused(touch, root, "main_data.hdf5|minari")


# The commands


COMMANDS = {
    "store.h5": ["data"], "plain.npz": ["data"], "trials.csv": ["data"], "z.npz": ["audit"], "z.parquet": ["audit"],
    "runs.csv": ["fit"], "runs.jsonl": ["fit"], "runs.parquet": ["advise"],
}  # fmt: skip


CONTENTS = {
    "empty": b"", "nested": b"[" * DEEP, "object": b"{}\n", "hdf5": BINARY["HDF5's first bytes"],
    "zip": BINARY["a zip's"],
}  # fmt: skip


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("content", CONTENTS)
def test_commands_say_one_line_and_leave_nothing(name, content, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(CONTENTS[content])
    code, out, err = called(capsys, *COMMANDS[name], name)
    assert (code, out.strip()) == (2, "")
    assert err.startswith("jepa-scale: error: ")
    assert len(err.splitlines()) == 1
    assert name in err
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_collect_names_a_bad_run_and_reads_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole_runs(tmp_path / "wandb")
    bad = wandb_file(tmp_path / "wandb", "bad", wandb_bytes([*wandb_records("bad", 8)[:1], b"\xff" * 40]))
    code, out, _ = called(capsys, "collect", "wandb")
    assert code == 0
    assert f"left out: {bad.relative_to(tmp_path)}: expected the records of a W&B run, got" in out
    assert "2 runs in" in out
