"""What a study shows in the real optuna-dashboard, asked over HTTP and looked at in a browser."""

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from jepa_scale.cli.app import main
from jepa_scale.integrations import optuna_dashboard
from jepa_scale.studies.queue.storage import Queue

pytestmark = pytest.mark.slow

STUDY = """\
name: shown
question: Does the dashboard show it?
target: risk
dials: {data.n: [300, 600], model.k: [2, 4]}
seeds: [0]
bootstrap_draws: 20
overrides: [logger=none, trainer.epochs=3, trainer.steps_per_epoch=20, data.heldout=640, data.test=640, \
data.batch_size=64, model.hidden=16]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    (folder / "shown.yaml").write_text(STUDY)
    with pytest.raises(SystemExit) as ended:
        main(["study", str(folder / "shown.yaml"), "workers=1", "-q", "--folder", str(folder / "study")])
    assert ended.value.code == 0
    return folder / "study"


def lines(study):
    return (study / "journal.log").read_text().count("\n")


def attached(study):
    """Artifacts of the Optuna study: file names by id."""
    queue = Queue(study, "shown")
    known = queue.storage.get_study_system_attrs(queue.study._study_id)
    found = [json.loads(value) for name, value in known.items() if name.startswith("artifacts:")]
    return {one["artifact_id"]: one["filename"] for one in found if one is not None}


def test_a_report_gives_the_verdict_and_its_files_and_a_second_one_nothing_new(study, capsys):
    queue = Queue(study, "shown")
    assert queue.study.user_attrs["target"] == {"quantity": "risk", "better": "lower"}
    verdict = queue.study.user_attrs["verdict"]
    before, files = lines(study), attached(study)
    assert {"report.html", "risk_by_width.png"} <= set(files.values())
    for number, name in files.items():
        place = study / ("" if name == "report.html" else "figures") / name
        assert (study / "artifacts" / number).read_bytes() == place.read_bytes()
        assert (study / "artifacts" / number).stat().st_nlink == 2, "a link takes no room"
    with pytest.raises(SystemExit):
        main(["report", str(study), "-q"])
    assert capsys.readouterr().out.strip() == verdict
    assert lines(study) == before
    assert attached(study) == files


def test_a_figure_that_is_gone_is_detached_and_foreign_artifacts_stay(study, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    queue = Queue(copy, "shown")
    foreign = {"artifact_id": "abc-1", "filename": "mine.txt", "mimetype": "text/plain", "encoding": None}
    queue.storage.set_study_system_attr(queue.study._study_id, "artifacts:abc-1", json.dumps(foreign))
    optuna_dashboard.publish(copy, "Other.", [copy / "report.html"])
    assert sorted(attached(copy).values()) == ["mine.txt", "report.html"]
    assert Queue(copy, "shown").study.user_attrs["verdict"] == "Other."
    assert len(list((copy / "artifacts").iterdir())) == 1


def test_a_folder_without_a_journal_gets_none(study, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    (copy / "journal.log").unlink()
    optuna_dashboard.publish(copy, "Enough.", [copy / "report.html"])
    assert not (copy / "journal.log").exists()


@pytest.fixture(scope="module")
def server(study):
    """The dashboard on a study's journal: its address."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        pytest.skip("optuna-dashboard is not installed (the extra `test` has it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", str(study / "journal.log")]
    command += ["--storage-class", "JournalFileStorage", "--artifact-dir", str(study / "artifacts")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/api/studies", timeout=10).read()
                break
            assert process.poll() is None, "the dashboard ended"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def asked(address, path):
    with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:
        return answer.read()


def test_the_real_dashboard_serves_values_curves_verdict_and_report(server, study):
    (summary,) = json.loads(asked(server, "/api/studies"))["study_summaries"]
    assert (summary["study_name"], summary["directions"]) == ("shown", ["minimize"])
    number = summary["study_id"]
    detail = json.loads(asked(server, f"/api/studies/{number}"))
    assert len(detail["trials"]) == 4
    stored = {trial.number: trial for trial in Queue(study, "shown").trials()}
    for trial in detail["trials"]:
        assert trial["state"] == "Complete"
        assert trial["values"] == stored[trial["number"]].values
        curve = [point["value"] for point in trial["intermediate_values"]]
        assert len(curve) == 3
        assert curve[-1] == trial["values"][0], "the curve ends in the value"
    attributes = {one["key"]: one["value"] for one in detail["user_attrs"]}
    assert "risk" in attributes["target"]
    assert Queue(study, "shown").study.user_attrs["verdict"] in attributes["verdict"].replace('\\"', '"')
    shown = {one["filename"]: one for one in detail["artifacts"]}
    page = asked(server, f"/artifacts/{number}/{shown['report.html']['artifact_id']}")
    assert page == (study / "report.html").read_bytes()
    assert shown["risk_by_width.png"]["mimetype"] == "image/png"


@pytest.mark.browser
def test_a_browser_shows_the_verdict_the_curves_and_the_figures(server, browsing, study):
    (summary,) = json.loads(asked(server, "/api/studies"))["study_summaries"]
    verdict = Queue(study, "shown").study.user_attrs["verdict"]
    tab = browsing.browser.new_page(viewport={"width": 1300, "height": 3000})
    tab.goto(f"{server}/dashboard/studies/{summary['study_id']}")
    for text in ("Study User Attributes", verdict[:40], "Intermediate values", "risk_by_width.png", "report.html"):
        tab.get_by_text(text).first.wait_for(timeout=30_000)
    # The figure itself, not a symbol for a file that cannot be shown.
    tab.wait_for_function("[...document.images].some((i) => i.alt === 'risk_by_width.png' && i.naturalWidth > 100)")
    tab.close()
