import pytest

from jepa_scale.callbacks.logging import MetricsFile, publish, scalars
from jepa_scale.integrations.wandb.opening import resolve_mode
from jepa_scale.records import Estimate


def estimate(name, value, error=0.1, n=10):
    return Estimate(name, value, error, n, epoch=0, step=20)


def test_scalars_carry_their_errors():
    rows = [estimate("a", 1.0), estimate("b", (1.0, 2.0), (0.1, 0.1)), estimate("c", 3.0, 0.0, None)]
    assert scalars(rows) == {"a": 1.0, "a/standard_error": 0.1, "a/n": 10, "c": 3.0}


def test_a_torn_line_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('[{"name": "torn')
    MetricsFile(path).write([estimate("a", float("nan"))])
    last = path.read_text().splitlines()[-1]
    assert last.startswith("[{")
    assert "NaN" not in last


def test_mode_is_offline_unless_something_else_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode("auto") == "disabled"
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(ValueError, match="expected WANDB_MODE online, offline, disabled; got 'bogus'"):
        resolve_mode("auto")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode("offline") == "offline"
    with pytest.raises(ValueError, match="sometimes"):
        resolve_mode("sometimes")


def test_publish_reaches_every_logger(tmp_path):
    class Plain:
        seen = None

        def log_metrics(self, metrics, step):
            self.seen = metrics, step

    class Trainer:
        lightning_module = None
        loggers = (MetricsFile(tmp_path / "metrics.jsonl"), Plain())

    publish(Trainer, [estimate("a", 1.0)])
    assert Trainer.loggers[1].seen == ({"a": 1.0, "a/standard_error": 0.1, "a/n": 10}, 20)
    assert Trainer.loggers[0].latest["a"].value == 1.0
