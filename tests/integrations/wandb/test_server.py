"""Runs of a W&B server: W&B's own classes, over a service that answers from a list."""

import json
import math

import pytest
import wandb
from wandb.apis import public

from jepa_scale.cli.app import main
from jepa_scale.integrations.wandb import server as wandb_server
from jepa_scale.integrations.wandb.server import WandbAddress, parse_address, read_server, runs_of
from jepa_scale.runs.errors import UserError


def node(run_id, *, config=None, summary=None, state="finished", created="2026-01-02T00:00:00Z", **more):
    """A run as the server describes it: configuration and summary as JSON in JSON."""
    wrapped = {key: {"desc": None, "value": value} for key, value in {**(config or {}), "_wandb": {}}.items()}
    return {
        "id": f"storage-{run_id}", "projectId": "1", "name": run_id, "displayName": f"run {run_id}", "state": state,
        "createdAt": created, "tags": [], "group": None, "jobType": None, "config": json.dumps(wrapped),
        "summaryMetrics": json.dumps({**(summary or {}), "_wandb": {"runtime": 3}}), "systemMetrics": None, **more,
    }  # fmt: skip


class Service:
    """Answers in pages; remembers what it was asked."""

    def __init__(self, nodes):
        self.nodes, self.asked = nodes, []

    def execute_graphql(self, query, variables):
        self.asked.append((query, dict(variables)))
        if self.nodes is None:
            return {"project": None}
        first = int(variables.get("cursor") or 0)
        page = self.nodes[first : first + variables["perPage"]]
        edges = [{"node": one, "cursor": str(first + place + 1)} for place, one in enumerate(page)]
        more = {"endCursor": "", "hasNextPage": first + len(page) < len(self.nodes)}
        return {"project": {"runCount": len(self.nodes), "runs": {"edges": edges, "pageInfo": more}}}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Put runs on the server of `wandb.Api`; returns what it was asked."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb_server, "check_login", lambda settings=None: logins.append(settings))
    logins, overrides_given = [], []

    def serve(nodes):
        service = Service(nodes)
        service.logins, service.overrides = logins, overrides_given

        class Api:
            def __init__(self, overrides=None):
                overrides_given.append(overrides)

            def runs(self, path, filters=None, order="+created_at", per_page=50, include_sweeps=False, lazy=True):
                return public.Runs(service, *path.split("/"), filters, order, per_page, include_sweeps, lazy)

        monkeypatch.setattr(wandb, "Api", Api)
        return service

    return serve


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_addresses_say_which_runs():
    assert parse_address("wandb://me/sweep") == WandbAddress("me", "sweep", {})
    text = "wandb://me/sweep?group=a%20b&job_type=train&tag=x&state=finished&host=w.lab.org/"
    filters = {"group": "a b", "jobType": "train", "tags": "x", "state": "finished"}
    assert parse_address(text) == WandbAddress("me", "sweep", filters, "https://w.lab.org")
    assert parse_address("wandb://me/sweep?host=http://localhost:8080").host == "http://localhost:8080"
    for wrong in ("me", "me/a/b", "/a", "me/a?user=x", "me/a?tag=", "me/a?tag=x&tag=y"):
        with pytest.raises(UserError, match=r"expected wandb://ENTITY/PROJECT\[\?group=G"):
            parse_address(f"wandb://{wrong}")


def test_runs_of_several_pages_are_read_with_one_request_for_each(server):
    nodes = [node(f"r{index}", config={"model": {"k": index}}, summary={"a": index}) for index in range(120)]
    service = server(nodes)
    runs = read_server(WandbAddress("me", "sweep", {"group": "g", "tags": "x"}), lambda run: False)
    assert [run.run_id for run in runs] == [f"r{index}" for index in range(120)]
    assert runs[7].config == {"model": {"k": 7}}
    assert runs[7].summary == {"a": 7}
    assert len(service.asked) == 3
    assert all("summaryMetrics" in query for query, _ in service.asked)
    assert json.loads(service.asked[0][1]["filters"]) == {"group": "g", "tags": {"$in": ["x"]}}
    assert (service.asked[0][1]["entity"], service.asked[0][1]["project"]) == ("me", "sweep")
    assert service.overrides == [None], "the server is the one that W&B is set up for"


def test_a_server_of_ones_own_is_asked_where_it_is_named(server):
    service = server([node("a")])
    read_server(WandbAddress("me", "sweep", {}, "https://w.lab.org"), lambda run: False)
    assert service.overrides == [{"base_url": "https://w.lab.org"}]
    assert service.logins == [{"WANDB_BASE_URL": "https://w.lab.org"}]


def test_what_is_kept_of_a_run(server, monkeypatch):
    monkeypatch.setattr(public.Run, "scan_history", lambda self: [{"epoch": 0, "a": "NaN", "id": self.id}])
    late = node(
        "late", state="crashed", created="2026-03-04T05:06:07", tags=["x", "y"], group="g", jobType="train",
        config={"lr": 0.1}, summary={"eval/regret": {"min": 0.1, "last": "NaN"}, "top": "Infinity"},
    )  # fmt: skip
    server([late, node("early")])
    early, run = read_server(WandbAddress("me", "sweep", {}), lambda run: run.run_id == "late")
    assert early.run_id == "early"
    assert early.history == ()
    assert (run.run_id, run.project, run.group, run.job_type, run.name) == ("late", "sweep", "g", "train", "run late")
    assert (run.tags, run.state, run.config) == (("x", "y"), "crashed", {"lr": 0.1})
    assert run.summary["eval/regret"]["min"] == 0.1
    assert math.isnan(run.summary["eval/regret"]["last"])
    assert run.summary["top"] == math.inf
    assert run.started == 1772600767
    (row,) = run.history
    assert math.isnan(row["a"])
    assert row["id"] == "late"


def test_older_interfaces_without_a_group_or_tags_are_read_too():
    class Run:
        id, name, group, job_type, tags, state = "a", None, None, None, None, "finished"
        created_at, config, summary_metrics = "2026-01-02T00:00:00", {"k": 1}, {"a": 2}

    (run,) = runs_of([Run()], "sweep", lambda run: False)
    assert (run.group, run.job_type, run.name, run.tags) == ("", "", "", ())


def test_collecting_a_project_writes_a_table(server, capsys, tmp_path):
    config = {"data": {"n": 1000}, "k": 8}
    server(
        [node("a", config=config, summary={"r": 0.25}), node("b", config=config, summary={"r": 0.5}, state="running")]
    )
    code, out, err = called(
        capsys, "collect", "wandb://me/sweep?group=first", "--columns", "n=data.n", "k=k", "regret=r"
    )
    assert code == 0, err
    assert "left out: 1 run (1 × running)" in out
    assert "1 run in wandb/sweep-first.parquet" in out
    assert (tmp_path / "wandb" / "sweep-first.parquet").is_file()


def test_our_runs_are_read_with_their_history(server, capsys, monkeypatch, tmp_path):
    import pyarrow.parquet as pq

    monkeypatch.setattr(public.Run, "scan_history", lambda self: [{"epoch": 1, "regret/inner": 0.125, "_step": 0}])
    dials = {"n": 300, "episodes": 20, "k": 4, "seed": 1, "parameters": 120, "flops_per_step": 5000}
    summary = {
        "run/status": "finished",
        "regret/inner": 0.5,
        **{f"dials/{name}": value for name, value in dials.items()},
    }
    server([node("a", config={"planner": {"score": "inner"}}, summary=summary)])
    code, _, err = called(capsys, "collect", "wandb://me/sweep")
    assert code == 0, err
    assert pq.read_table(tmp_path / "wandb" / "sweep.parquet").to_pydict()["regret"] == [0.125]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (wandb.errors.CommError("HTTP 401: user is not logged in\nmore"), "(HTTP 401: user is not logged in)"),
        (wandb.errors.UsageError("no key"), "(no key)"),
        (ConnectionError("network is unreachable"), "(network is unreachable)"),
        (TimeoutError(), "(TimeoutError)"),
    ],
)
def test_what_w_and_b_refuses_is_one_line(error, said, server, capsys, monkeypatch, tmp_path):
    def refuse(overrides=None):
        raise error

    monkeypatch.setattr(wandb, "Api", refuse)
    code, out, shown = called(capsys, "collect", "wandb://me/sweep")
    assert (code, out) == (2, "")
    assert f"wandb://me/sweep cannot be read {said}: check its name, your access" in shown
    assert len(shown.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_project_that_is_not_there_and_one_without_such_runs(server, capsys):
    server(None)
    assert "(Could not find project sweep)" in called(capsys, "collect", "wandb://me/sweep")[2]
    server([])
    code, _, shown = called(capsys, "collect", "wandb://me/sweep?group=none")
    assert code == 2
    assert "wandb://me/sweep holds no such run, group=none: leave out a filter" in shown


def test_without_a_key_w_and_b_itself_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(wandb, "Api", None)
    code, _, shown = called(capsys, "collect", "wandb://me/sweep")
    assert code == 2
    assert shown.startswith("jepa-scale: error: not logged in to W&B")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "API key must have 40+ characters" in called(capsys, "collect", "wandb://me/sweep")[2]
