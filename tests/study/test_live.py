"""The live view: what is said of cells, runs and forecasts on any screen, and when it ends."""

import datetime
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from optuna.trial import TrialState
from rich.color import Color
from rich.console import Console

from jepa_scale.cli.app import main
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.laws.forecast import forecast
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.instantiate import build_law
from jepa_scale.studies.holdings import read_records
from jepa_scale.studies.launching.submission import Array, Submission
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.table import run_table
from jepa_scale.studies.view import live, outlook, status
from jepa_scale.studies.view.grid import _COLOURS, ColourScale, cells_of
from jepa_scale.studies.view.outlook import Outlooks
from jepa_scale.studies.view.screen import Overview
from jepa_scale.studies.view.status import Look, RunState, status_of
from jepa_scale.studies.view.tails import _MOST, Tail
from tests.study.fake_slurm import FakeSlurm
from tests.study.planted_study import PlantedStudy, regret_at
from tests.study.test_supervisor import loaded_by


@pytest.fixture
def planted(tmp_path):
    return PlantedStudy(tmp_path / "study")


def text_of(status, width=100, height=40, **options):
    """The frame as it is on a terminal without colours."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=height)
    console.print(Overview(status, **options))
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def row(text, n):
    """The cells of a size."""
    (line,) = [line for line in text.splitlines() if re.match(rf" *{n} ", line)]
    return line.split()[1:]


def test_cells_are_means_of_records_and_of_what_running_runs_have_estimated_so_far(planted):
    planted.run(planted.point(300, 2, 0))
    planted.run(planted.point(300, 2, 1))
    planted.run(planted.point(1000, 8, 0), regret=0.2)
    planted.begin(planted.point(1000, 8, 1))
    planted.epoch(planted.point(1000, 8, 1), 0, 0.5)
    planted.epoch(planted.point(1000, 8, 1), 1, 0.4)
    table = run_table(list(read_records(planted.points, planted.folder).values()))
    here = (table["n"] == 300) & (table["k"] == 2)
    text = text_of(status_of(planted.folder))
    assert row(text, 300)[:2] == [f"{table['regret'][here].mean():.3f}", "2/2"]
    assert row(text, 1000) == ["·", "0/2", "0.300", "1/2▸", "·", "0/2"], "(0.2 + 0.4) / 2"
    assert "3 of 18 runs done" in text
    assert "▸ n=1000, k=8, seed=1 · epoch 2 of 4 · 0:0" in text
    assert "regret 0.400" in text
    assert "▸ running, counted at its last epoch" in text


def test_a_record_that_nobody_has_told_of_counts_with_its_regret(planted):
    point = planted.point(300, 2)
    planted.begin(point)
    planted.finish(point, regret=0.123, told=False)
    assert row(text_of(status_of(planted.folder)), 300)[:2] == ["0.123", "1/2"]


def test_a_score_that_is_missing_from_the_records_leaves_the_cell_without_a_number(tmp_path):
    planted = PlantedStudy(tmp_path / "study", score="none")
    planted.begin(planted.points[0])
    planted.queue.finish(planted.trials[planted.points[0].run_id], planted.record(planted.points[0], None))
    planted.points[0].folder(planted.folder).write_record(planted.record(planted.points[0], None))
    status = status_of(planted.folder)
    assert status.counts["done"] == 1
    assert "no regret yet" in text_of(status)
    assert row(text_of(status), 300)[:2] == ["·", "1/2"]


def test_what_failed_and_what_diverged_is_marked_counted_and_named(planted):
    planted.fail(planted.point(300, 8), "ValueError: expected [red]x[/red], got \x1b[31m3")
    planted.run(planted.point(3000, 32), reason="training loss is not finite")
    status = status_of(planted.folder)
    text = text_of(status)
    assert row(text, 300)[2:4] == ["·", "0/2✗"]
    assert row(text, 3000)[4:] == ["·", "1/2!"]
    assert "✗ n=300, k=8, seed=0: ValueError: expected [red]x[/red], got [31m3\n" in text
    assert "1 of them diverged" in text
    assert "1 failed" in text
    plain = Console(file=io.StringIO(), width=100, height=40)
    plain.print(Overview(status))
    assert "\x1b" not in plain.file.getvalue(), "an error's control characters do not reach the terminal"


def test_studies_without_a_run_with_failures_only_and_of_one_run(tmp_path):
    empty = PlantedStudy(tmp_path / "empty")
    assert "0 of 18 runs done" in text_of(status_of(empty.folder))
    assert row(text_of(status_of(empty.folder)), 300) == ["·", "0/2"] * 3
    lost = PlantedStudy(tmp_path / "lost", sizes=(300,), widths=(2,))
    for point in lost.points:
        lost.fail(point, "ValueError: no")
    assert "0 of 2 runs done · 2 failed" in text_of(status_of(lost.folder))
    one = PlantedStudy(tmp_path / "one", sizes=(300,), widths=(2,), seeds=(0,))
    one.run(one.points[0], regret=0.0)
    assert row(text_of(status_of(one.folder)), 300) == ["0.000", "1/1"]


@pytest.mark.parametrize("height", [3, 8, 12, 24, 60])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_screen_is_filled_and_never_overfilled(tmp_path, width, height):
    planted = PlantedStudy(tmp_path / "study", (300, 1000, 3000, 10000, 30000, 100000), (2, 4, 8, 16, 32, 64))
    for point in planted.points[:40]:
        planted.run(point)
    for point in planted.points[40:50]:
        planted.begin(point)
    for point in planted.points[50:60]:
        planted.fail(point, "ValueError: " + "long " * 50)
    text = text_of(status_of(planted.folder), width, height, outlooks={"": "no forecast yet: " + "why " * 60})
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height - 1
    assert "40 of 72 runs done" in text or (width == 20 and height == 3)
    grid = [line for line in lines if re.match(r" *(300|1000|3000|10000|30000|100000) ", line)]
    if width >= 80 and height >= 24:
        assert len(grid) == 6, "the grid comes before the lists"
        assert all(len(re.findall(r"\d/2", line)) == 6 for line in grid)
    if width == 40 and height >= 12:
        assert re.search(r"… and (\d more sizes?, )?2 more widths", text)
    if height == 12 and width >= 40:
        assert re.search(r"… and \d more sizes?", text)
    if height == 24 and width >= 40:
        assert "more are running" in text
        assert "more failed" in text
    if height == 60:
        assert (text.count("▸ n="), text.count("✗ n=")) == (10, 10), "there is room for all"


def test_lists_say_how_much_they_leave_out(tmp_path):
    planted = PlantedStudy(tmp_path / "study", seeds=(0, 1))
    for point in planted.points[:9]:
        planted.begin(point)
    text = text_of(status_of(planted.folder), height=14)
    named = text.count("▸ n=")
    (left,) = re.findall(r"… and (\d+) more are running", text)
    assert named + int(left) == 9
    for point in planted.points[9:]:
        planted.run(point)
    assert "… and 1 more width\n" in text_of(status_of(planted.folder), width=22, height=40)


def test_arms_have_a_grid_each_and_the_busiest_first_where_not_all_fit(tmp_path):
    arms = {"world.noise_std": ["[red]0[/red]", 0.5, 1.0]}
    planted = PlantedStudy(tmp_path / "study", arms=arms)
    for arm in ("[red]0[/red]", "1.0"):
        planted.run(planted.point(300, 2, 0, f"world.noise_std={arm}"), regret=0.1 if arm == "1.0" else 0.3)
    planted.begin(planted.point(1000, 2, 0, "world.noise_std=1.0"))
    status = status_of(planted.folder)
    said = {f"world.noise_std={value}": f"no forecast yet: {value}" for value in arms["world.noise_std"]}
    tall = text_of(status, outlooks=said)
    assert tall.count("n \\ k") == 3
    assert tall.index("world.noise_std=1.0\n") < tall.index("world.noise_std=[red]0[/red]\n")
    assert tall.count("no forecast yet: ") == 3
    short = text_of(status, height=14, outlooks=said)
    assert short.count("n \\ k") == 1
    assert short.index("world.noise_std=1.0\n") < short.index("n \\ k")
    assert "world.noise_std=[red]0[/red]: 1 of 18 runs done, 0 running, least regret 0.300" in short
    assert "world.noise_std=0.5: 0 of 18 runs done" in short


def test_colours_are_read_on_any_terminal_and_numbers_without_any(planted):
    def light(triplet):
        parts = [part / 255 for part in triplet]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    scale = ColourScale(0.0, 1.0)
    seen = []
    for share in np.linspace(0, 1, 50):
        style = scale.style(float(share) ** 2)
        front, back = light(style.color.triplet), light(style.bgcolor.triplet)
        # WCAG's AA for text.
        assert (max(front, back) + 0.05) / (min(front, back) + 0.05) >= 4.5
        seen.append(back)
    assert seen == sorted(seen, reverse=True), "more regret is darker: no hue has to be told from another"
    assert len(set(seen)) == len(_COLOURS)
    assert Color.parse(_COLOURS[0]).triplet == scale.style(0.0).bgcolor.triplet
    planted.run(planted.point(300, 2), regret=0.3)
    planted.run(planted.point(300, 8), regret=0.2)
    console = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=80, height=30)
    console.print(Overview(status_of(planted.folder)))
    plain = console.file.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*[34]8;", plain)
    assert re.search(r"\x1b\[1;4m0\.200", plain), "the least of a row stands out without colours"
    assert not re.search(r"\x1b\[1;4m0\.300", plain)


def test_a_half_written_line_waits_and_a_torn_one_is_left_out(planted):
    point = planted.point(300, 2)
    planted.begin(point)
    planted.epoch(point, 0, 0.5)
    look = Look(planted.folder)
    whole = json.dumps([{"name": "regret/density", "value": 0.25, "epoch": 1}])
    with point.folder(planted.folder).metrics_path.open("a") as file:
        file.write(whole[:20])
        file.flush()
        assert look.status().runs[0].regret == 0.5
        file.write(whole[20:] + "\n")
        file.flush()
        assert (look.status().runs[0].regret, look.status().runs[0].epochs) == (0.25, 2)
        file.write('[{"name": "regret/density", "value": 0.\n"not rows"\n[3]\n')
    assert look.status().runs[0].regret == 0.25
    planted.epoch(point, 2, 0.125)
    assert look.status().runs[0].regret == 0.125


def test_of_a_long_file_the_end_is_read_and_what_is_new_only(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    line = json.dumps([{"name": "regret/density", "value": 0.5, "epoch": 0, "more": "x" * 1000}]) + "\n"
    path.write_text(line * 1000 + line.replace("0.5", "0.75").replace('"epoch": 0', '"epoch": 7'))
    taken = []
    monkeypatch.setattr(Tail, "_take", lambda self, line, take=Tail._take: (taken.append(len(line)), take(self, line)))
    tail = Tail(path)
    tail.read()
    assert (tail.regrets, tail.epochs) == ({"density": 0.75}, 8)
    assert sum(taken) <= _MOST < path.stat().st_size
    taken.clear()
    tail.read()
    assert not taken
    path.write_text(line)
    tail.read()
    assert (tail.regrets, tail.epochs) == ({"density": 0.5}, 1), "begun anew"


def test_what_cannot_change_any_more_is_read_once(planted):
    for point in planted.points[:3]:
        planted.run(point)
    look = Look(planted.folder)
    assert look.status().counts["done"] == 3
    planted.points[0].folder(planted.folder).record_path.unlink()
    assert look.status().counts["done"] == 3
    # Its next trial is another one: the run is done again.
    planted.plan()
    found = look.status()
    assert found.counts["done"] == 2
    assert found.counts["waiting"] == len(planted.points) - 2


def test_squeue_is_not_asked_at_every_look(tmp_path, monkeypatch):
    (tmp_path / "slurm").mkdir()
    slurm = FakeSlurm(tmp_path / "slurm")
    slurm.lives("7_0|RUNNING|50:00|n1", "7_1|PENDING|50:00|(Priority)")
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    planted = PlantedStudy(tmp_path / "study")
    Submission(SlurmLauncher(), (Array("7", "cpu1", 2, "now"),)).write(planted.folder)
    planted.begin(planted.points[0], "slurm:7_0")
    look = Look(planted.folder, patience=60)
    for _ in range(3):
        status = look.status()
    assert len([line for line in slurm.asked if line.startswith("squeue")]) == 1
    text = text_of(status)
    assert "jobs: 1 pending (Priority) · 1 running" in text
    assert "job 7_0" in text
    assert live.over(look, status, alone=True) == "", "its workers live"
    slurm.lives()
    look = Look(planted.folder)
    assert "nobody is at it" in live.over(look, look.status(), alone=True)


def outlook_of(planted):
    return outlook.outlook(
        Look(planted.folder).spec, run_table(list(read_records(planted.points, planted.folder).values()))
    )


def test_the_outlook_is_the_reports_forecast_of_the_largest_cell(tmp_path):
    planted = PlantedStudy(tmp_path / "study", (300, 1000, 3000, 10000), (2, 4, 8, 16, 32, 64))
    for point in planted.points:
        if point.n < 10000 or (point.k, point.seed) == (32, 0):
            planted.run(point)
    table = run_table(list(read_records(planted.points, planted.folder).values()))
    found = forecast(build_law("theory_free"), table, "regret", 10000, level=0.9, draws=20)
    best = min(found.points, key=lambda point: point.predicted)
    said = outlook_of(planted)
    assert f"forecast for n=10000 from 36 runs below it (theory_free): regret {best.predicted:.3g}" in said
    assert f"k={best.k}, 90 % interval {best.low:.3g} to {best.high:.3g}" in said
    here = f"; measured there so far: {regret_at(10000, 32):.3g} (1 run)"
    assert (best.k == 32) == said.endswith(here)


def test_an_outlook_that_cannot_be_made_says_why(tmp_path, planted):
    assert "needs finished runs of ≥ 2 sizes below n=3000, 0 so far" in outlook_of(planted)
    planted.run(planted.point(300, 2))
    assert "needs finished runs of ≥ 2 sizes below n=3000, 1 so far" in outlook_of(planted)
    planted.run(planted.point(1000, 2))
    said = outlook_of(planted)
    assert re.match(
        r"no forecast yet: from the 2 runs below n=3000, without saturated cells: theory_free is not identified: ", said
    )
    one = PlantedStudy(tmp_path / "one", sizes=(300,))
    assert "one needs ≥ 2 sizes n, the study has 1" in outlook_of(one)
    lost = PlantedStudy(tmp_path / "lost")
    lost.run(lost.points[0], reason="it diverged")
    assert "no run that has ended has a regret" in outlook_of(lost)


def test_a_fit_that_raises_ends_in_a_sentence(planted, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("singular\nmatrix")

    for point in planted.points:
        planted.run(point)
    monkeypatch.setattr(outlook, "forecast", broken)
    look = Look(planted.folder)
    outlooks = Outlooks(look.spec, planted.folder, at_once=True)
    outlooks.make(look.status())
    assert outlooks.said == {"": "no forecast: RuntimeError: singular"}


def test_outlooks_are_made_when_runs_have_finished_and_take_their_share_of_the_time(planted, monkeypatch):
    made = []
    clock = [1000.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: clock[0])
    look = Look(planted.folder)
    outlooks = Outlooks(look.spec, planted.folder, at_once=False)
    monkeypatch.setattr(outlooks, "make", lambda status: (made.append(clock[0]), Outlooks.make(outlooks, status)))

    def follow():
        outlooks.follow(look.status())
        if outlooks._work is not None:
            outlooks._work.join()

    planted.run(planted.points[0])
    follow()
    assert made == [], "what it will cost is not known yet"
    clock[0] += 26
    follow()
    follow()
    assert made == [1026.0]
    outlooks.cost = 3.0
    outlooks._due = clock[0] + outlooks._pause
    clock[0] += 149
    planted.run(planted.points[1])
    follow()
    assert made == [1026.0], "3 s are 2 % of 150 s"
    clock[0] += 2
    follow()
    assert made == [1026.0, 1177.0]
    clock[0] += 1000
    follow()
    assert len(made) == 2, "nothing new"


@pytest.fixture
def impatient(monkeypatch):
    """Whoever watches takes a study for left after a moment."""
    monkeypatch.setattr(live, "_ALONE", 0.1)


def watched(planted, seconds=0.05):
    """Lines of a watch that is no terminal, and why it ended."""
    console = Console(file=io.StringIO(), width=40)
    why = live.watch(planted.folder, console, seconds)
    return console.file.getvalue(), why


def test_watching_ends_when_all_runs_are_done_with_a_line_for_each_change(planted):
    def work():
        for point in planted.points:
            planted.run(point)
            time.sleep(0.03)

    with FileLock(planted.folder / "lock"):
        thread = threading.Thread(target=work)
        thread.start()
        text, why = watched(planted)
        thread.join()
    assert why == "all runs are done"
    lines = text.splitlines()
    assert lines[-1] == "planted: 18 of 18 runs done"
    assert len(lines) == len(set(lines)) > 2
    assert all(line.startswith("planted: ") for line in lines), "long lines are not broken"
    assert "\x1b" not in text


def test_watching_ends_when_nobody_is_at_what_is_left(planted, impatient):
    for point in planted.points[:17]:
        planted.run(point)
    planted.begin(planted.points[17])
    planted.leave()
    text, why = watched(planted)
    assert why == "nobody is at it any more: the study or sweep command goes on with it"
    assert text == "planted: 17 of 18 runs done, 1 at workers that have ended\n"
    look, lock = Look(planted.folder), FileLock(planted.folder / "lock")
    with lock:
        assert live.over(look, look.status(), alone=True) == "", "somebody is"
    assert live.over(look, look.status(), alone=False) == "", "somebody may be coming"
    planted.queue.fail(planted.trials[planted.points[17].run_id], "it failed")
    assert live.over(look, look.status(), alone=False).startswith("nothing is left that could run")


def test_whoever_watches_waits_for_a_study_that_is_only_starting(planted, monkeypatch):
    clock = [1000.0]
    lock = FileLock(planted.folder / "lock")

    def sleep(seconds):
        clock[0] += seconds
        if clock[0] == 1025:
            lock.acquire()
        if clock[0] == 1100:
            lock.release()

    monkeypatch.setattr(live.time, "sleep", sleep)
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    text, why = watched(planted, 5.0)
    assert why.startswith("nobody is at it any more")
    assert clock[0] == 1095 + 30, "half a minute after it was there last"
    assert text == "planted: 0 of 18 runs done, 18 waiting for a worker\n"


def test_runs_of_a_process_that_has_ended_are_at_no_one(planted, capsys):
    for point in planted.points[:6]:
        planted.run(point)
    planted.begin(planted.points[6])
    planted.begin(planted.points[7], "worker-1")
    found = status_of(planted.folder)
    assert (found.counts["running"], found.counts["lost"], found.left is None) == (2, 0, False)
    assert "nobody" not in called(capsys, str(planted.folder))[1].out
    planted.leave()
    found = status_of(planted.folder)
    assert (found.counts["running"], found.counts["lost"], found.left) == (0, 2, None)
    said = called(capsys, str(planted.folder))[1].out.splitlines()
    assert said[0] == "planted: 6 of 18 runs done"
    assert said[1] == "• 10 waiting for a worker, 2 at workers that have ended"
    assert said[2].startswith("• nobody is at it")
    again = f"jepa-scale study {planted.folder / 'study.yaml'} --folder {planted.folder}"
    assert said[3:] == [f"next: {again}"]
    assert called(capsys, str(planted.folder), "--quiet")[1].out.splitlines() == said[:1]
    answer = json.loads(called(capsys, str(planted.folder), "--json")[1].out)
    assert (answer["counts"]["running"], answer["counts"]["lost"]) == (0, 2)
    assert (answer["command"], answer["verdict"], answer["next"]) == ("status", said[0], again)
    assert planted.queue.waiting() == 10, "who only looks leaves them to whoever goes on"


def test_a_run_without_a_name_at_it_is_lost_where_nobody_is(planted):
    assert planted.queue._claims.take(planted.trials[planted.points[0].run_id])
    with FileLock(planted.folder / "lock"):
        assert status_of(planted.folder).counts["running"] == 1
    assert status_of(planted.folder).counts["lost"] == 1


def test_the_time_left_is_by_all_workers_not_those_that_have_a_run_at_the_moment(planted, monkeypatch):
    monkeypatch.setattr(status, "_left", lambda runs, workers, queue: workers)
    look = Look(planted.folder)
    planted.begin(planted.points[0])
    assert look.status().left == 1
    planted.begin(planted.points[1], "worker-1")
    assert look.status().left == 2
    planted.finish(planted.points[0])
    planted.finish(planted.points[1])
    assert look.status().left == 2, "they are about to take the next ones"
    assert Look(planted.folder, planted.queue, workers=4).status().left == 4, "whoever has started them knows"
    planted.leave()
    assert look.status().left == 0


def ended(start, seconds, worker="worker-0"):
    """A trial that ended well, with its start in seconds."""
    length, began = datetime.timedelta(seconds=seconds), datetime.datetime(2026, 1, 1)
    began += datetime.timedelta(seconds=start)
    return SimpleNamespace(
        state=TrialState.COMPLETE, duration=length, datetime_start=began, datetime_complete=began + length,
        user_attrs={"worker": worker}, number=0,
    )  # fmt: skip


def test_the_time_left_is_what_runs_took_over_the_workers(planted):
    trials = [ended(10.0 * place, 10.0) for place in range(4)]
    runs = [RunState(planted.points[0], "running", "worker-0", 4.0), *[RunState(planted.points[1], "waiting")] * 2]
    assert status._left(runs, 2, trials) == (13.0, 13.0)
    assert status._left(runs, 16, trials) == (26 / 3, 26 / 3), "no more than there are runs"
    assert status._left(runs, 0, trials) is None


def test_the_time_left_counts_time_that_members_of_a_cohort_share_once(planted):
    """Two workers with four members each take 20 s for four runs: 5 s a run and worker."""
    trials = [ended(0.0, 20.0, f"worker-{member % 2}") for member in range(8)]
    runs = [RunState(planted.points[0], "running", "worker-0", 4.0)] * 4
    runs += [RunState(planted.points[1], "waiting")] * 6
    assert status._left(runs, 2, trials) == (23.0, 23.0)


def test_a_study_whose_runs_are_just_being_queued_is_not_over(planted):
    (planted.folder / "journal.log").unlink()
    look = Look(planted.folder)
    assert look.status().counts["left"] == 18
    with FileLock(planted.folder / "lock"):
        assert live.over(look, look.status(), alone=True) == ""
    assert live.over(look, look.status(), alone=True).startswith("nothing is left that could run")


def test_a_study_that_chooses_its_runs_is_not_over_while_it_is_held(tmp_path):
    design = {"data.n": 3000, "model.k": 32, "runs": 5}
    planted = PlantedStudy(tmp_path / "study", sampler="design", design=design)
    for point in planted.points[:2]:
        planted.run(point)
    look, lock = Look(planted.folder), FileLock(planted.folder / "lock")
    for point in planted.points[2:]:
        planted.queue.fail(planted.trials[point.run_id], "not chosen")
    with lock:
        assert live.over(look, look.status(), alone=True) == ""
    assert live.over(look, look.status(), alone=False) == ""
    assert live.over(look, look.status(), alone=True) != ""
    assert "2 of up to 18 runs done" in live.summary(look.status())


def test_a_study_that_chooses_its_runs_is_over_with_the_last_one(tmp_path):
    planted = PlantedStudy(tmp_path / "study", sampler="design", design={"data.n": 3000, "model.k": 32, "runs": 5})
    # Five of the planned runs are chosen; the others come into no queue.
    (planted.folder / "journal.log").unlink()
    planted.queue = Queue(planted.folder, "planted")
    planted.queue.plan(planted.points[:5], {})
    planted.trials = {trial.user_attrs["run"]: trial._trial_id for trial in planted.queue.trials()}
    for done, point in enumerate(planted.points[:5]):
        look = Look(planted.folder)
        assert (done, live.over(look, look.status(), alone=False)) == (done, "")
        planted.run(point)
    look = Look(planted.folder)
    assert live.over(look, look.status(), alone=False) == "all runs are done"


def test_the_last_frame_of_a_study_that_is_interrupted_has_no_run_at_work(planted, monkeypatch):
    shows = []
    monkeypatch.setattr(live.Screen, "show", lambda self, frame: shows.append(frame.status.counts))

    def interrupted():
        with live.shown(planted.folder, planted.queue, Console(), 0, 18, 2):
            planted.begin(planted.points[0])
            while not any(counts["running"] for counts in shows):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (shows[-1]["running"], shows[-1]["lost"]) == (0, 1)


def test_a_study_that_runs_says_a_line_for_each_twentieth_and_the_last_state(planted):
    console = Console(file=io.StringIO())
    say = live.twentieths(0, 100)
    seen = [say(fake(done, 100)) for done in (0, 3, 5, 6, 9, 10, 99, 100, 100)]
    assert [line for line in seen if line] == [f"{done}/100 runs done" for done in (5, 10, 99, 100)]
    with live.shown(planted.folder, planted.queue, console, 0, len(planted.points), 1):
        for point in planted.points:
            planted.run(point)
    text = console.file.getvalue()
    assert text.splitlines()[-1].startswith("18/18 runs done")
    assert "\x1b" not in text


class fake:
    """A status of which some runs are done."""

    left = None

    def __init__(self, done, total):
        self.counts, self.total = {"done": done}, total


def test_colours_that_an_environment_forces_make_no_terminal_of_a_file():
    assert not live.lively(Console(file=io.StringIO(), force_terminal=True))


def test_a_view_that_cannot_read_says_so_and_the_study_goes_on(planted):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100, height=30)
    look = Look(planted.folder)
    screen = live.Screen(console, live.changes())
    outlooks = Outlooks(look.spec, planted.folder, at_once=False)
    live._show(look, outlooks, screen)
    (planted.folder / "plan.json").write_text("[\n")
    live._show(look, outlooks, screen)
    assert "not the latest: UserError" in screen.latest.trouble
    console.print(screen.latest)
    assert "not the latest: UserError" in console.file.getvalue()


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["status", *arguments])
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["STUDY", "--watch", "0"], "expected seconds between two looks, above 0 and at most 86400 (a day), got 0"),
        (["STUDY", "--watch", "1e12"], "got 1e12"),
        (["--watch=-1", "STUDY"], "got -1"),
        (["STUDY", "--watch", "nan"], "got nan"),
        (["STUDY", "--watch", "inf"], "got inf"),
        (["STUDY", "--watch", "soon"], "got soon"),
        (["--watch", "5"], "expected the folder of a study, got none"),
        ([], "expected the folder of a study, got none"),
        (["--watch", "nowhere"], "nowhere is not a study folder"),
    ],
)
def test_wrong_watches_end_with_one_line(planted, capsys, arguments, said):
    code, shown = called(capsys, *(argument.replace("STUDY", str(planted.folder)) for argument in arguments))
    assert code == 2
    assert said in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("order", [["--watch", "STUDY"], ["STUDY", "--watch"], ["--watch", "0.05", "STUDY"]])
def test_the_folder_may_come_before_or_after_watch(planted, capsys, order):
    for point in planted.points:
        planted.run(point)
    code, shown = called(capsys, *(part.replace("STUDY", str(planted.folder)) for part in order))
    assert code == 0
    assert shown.out == "planted: 18 of 18 runs done\nall runs are done\n"


def test_watching_as_json_is_an_object_on_a_line_for_each_change(planted, capsys, impatient):
    for point in planted.points[:3]:
        planted.run(point)
    code, shown = called(capsys, str(planted.folder), "--watch", "0.05", "--json")
    assert code == 0
    (content,) = [json.loads(line) for line in shown.out.splitlines()]
    assert content["counts"]["done"] == 3
    assert len(content["runs"]) == 18
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(content["at"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["at"])
    assert 0 <= age.total_seconds() < 600


def test_ctrl_c_ends_watching_with_a_clean_line(planted, capsys, monkeypatch):
    def stop(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(live.time, "sleep", stop)
    code, shown = called(capsys, str(planted.folder), "--watch")
    assert code == 130
    assert shown.err == "\njepa-scale: no longer watched; the study itself goes on\n"


def in_a_terminal(command, folder):
    """What a command writes to a terminal of 80 columns, and its exit code."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process = subprocess.Popen(command, stdout=follower, stderr=follower, cwd=folder, env=environment)
    os.close(follower)
    written = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
    os.close(leader)
    return written.decode(), process.wait(timeout=60)


def test_a_terminal_is_drawn_on_and_left_with_the_last_frame_and_its_cursor(planted):
    for point in planted.points:
        planted.run(point)
    text, code = in_a_terminal(
        [sys.executable, "-m", "jepa_scale", "status", "--watch", "study"], planted.folder.parent
    )
    assert code == 0, text
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "18 of 18 runs done" in plain
    assert "forecast for n=3000" in plain or "no forecast yet: " in plain, "a watch that ends has looked ahead"
    assert plain.rstrip().endswith("all runs are done")


_NOISY = """
import sys, time, warnings
from pathlib import Path
from rich.console import Console
from jepa_scale.studies.view.live import shown
from jepa_scale.studies.queue.storage import Queue
study = Path("study")
with shown(study, Queue(study, "planted"), Console(), 0, 18, 1):
    time.sleep(0.5)
    print("printed by a run")
    print("told by a run", file=sys.stderr)
    warnings.warn("warned by a run")
    time.sleep(1.5)
"""


def screen_of(text):
    """The lines that a terminal shows in the end, of what rich's frames are made of."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\x1b\r":
            lines[row] += part
    return lines


def test_what_runs_print_stands_above_the_frame_and_does_not_tear_it(planted):
    text, code = in_a_terminal([sys.executable, "-c", _NOISY], planted.folder.parent)
    assert code == 0, text
    assert text.count("0 of 18 runs done") > 2, "frames before and after"
    *above, head, legend, widths, first, second, third, rest = screen_of(text)
    assert [line for line in above if line] == [
        "printed by a run", "told by a run", "<string>:12: UserWarning: warned by a run",
    ]  # fmt: skip
    assert head == "planted · 0 of 18 runs done"
    assert legend == "no regret yet"
    assert [line.split()[0] for line in (widths, first, second, third)] == ["n", "300", "1000", "3000"]
    assert rest == ""


def test_watching_loads_nothing_heavy():
    assert not {"torch", "lightning", "wandb", "matplotlib"} & set(loaded_by("jepa_scale.studies.view.live"))


def test_a_damaged_plan_ends_a_watch_with_its_reason(planted):
    (planted.folder / "plan.json").write_text("[\n")
    with pytest.raises(UserError, match="is damaged"):
        live.watch(planted.folder, Console(file=io.StringIO()), 0.05)


def test_cells_count_runs_of_every_state(planted):
    planted.run(planted.point(300, 2, 0))
    planted.fail(planted.point(300, 2, 1), "no")
    cell = cells_of(status_of(planted.folder).runs)[300, 2]
    assert (cell.done, cell.total, cell.marks) == (1, 2, "✗")
    assert cell.regret == pytest.approx(regret_at(300, 2, 0))
