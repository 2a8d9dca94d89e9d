"""TRACKING.TO: short runs tracked by the real packages in their offline modes; resumed runs continue the same one."""

import json
import logging
import sqlite3
import sys

import pytest
from detectron2.utils.events import EventStorage

from helpers.toy_run import run, toy_run_cfg
from segvit.engine import Trainer
from segvit.engine.preflight import preflight
from segvit.errors import UserError
from segvit.tracking import event_writer
from segvit.tracking.event_writer import RECORD, TrackingWriter, tracking_writers
from segvit.visualization.curves import read_all_metrics


class Stop(Exception):
    """The run breaks off."""


class FakeTracker:
    """Keeps what is logged, as `kept[run_id]`, in place of a package."""

    kept: dict = {}

    def __init__(self, *, project, name, run_id, config, folder):
        self.run_id = run_id or f"run{len(self.kept)}"
        self.rows = self.kept.setdefault(self.run_id, [])
        self.started = (project, name, config)

    def log(self, values, iteration):
        self.rows.append((iteration, dict(values)))

    def finish(self):
        self.rows.append("finished")


@pytest.fixture
def fake(monkeypatch):
    FakeTracker.kept = {}
    monkeypatch.setitem(event_writer.TRACKERS, "wandb", FakeTracker)
    monkeypatch.setattr(event_writer, "require_package", lambda to: None)
    return FakeTracker.kept


def tracked_cfg(folder, to, **changes):
    return toy_run_cfg(folder, TRACKING__TO=to, TEST__EVAL_PERIOD=2, SOLVER__MAX_ITER=4, **changes)


def values_by_iteration(rows, name):
    return {iteration: values[name] for iteration, values in rows if name in values}


def logged_values(folder, name):
    return dict(zip(*read_all_metrics(folder)[name]))


def test_a_resumed_run_continues_the_tracked_one_with_the_values_of_the_log(toy_scenes, tmp_path, fake):
    folder = tmp_path / "street"
    trainer = Trainer(tracked_cfg(folder, "wandb"))
    evaluate = trainer._evaluate
    writer = trainer._writers[-1]
    assert isinstance(writer, TrackingWriter)
    project, name, config = writer._tracker.started
    assert (project, name) == ("segvit", "street") and config["SOLVER.MAX_ITER"] == 4 and "MODEL.VIT.NAME" in config

    def interrupted():
        evaluate()
        raise Stop

    next(hook for hook in trainer._hooks if hasattr(hook, "_evaluate"))._evaluate = interrupted
    with pytest.raises(Stop):
        trainer.train()
    run(tracked_cfg(folder, "wandb"), resume=True)
    assert list(fake) == ["run0"] and fake["run0"].count("finished") == 2
    rows = [row for row in fake["run0"] if row != "finished"]
    assert values_by_iteration(rows, "sem_seg/mIoU") == logged_values(folder, "sem_seg/mIoU")
    assert set(values_by_iteration(rows, "sem_seg/mIoU")) == {1, 4}
    assert values_by_iteration(rows, "total_loss").keys() == logged_values(folder, "total_loss").keys()


def test_other_processes_do_not_track(toy_scenes, tmp_path, fake, monkeypatch):
    monkeypatch.setattr("segvit.engine.trainer.comm.is_main_process", lambda: False)
    Trainer(tracked_cfg(tmp_path / "run", "wandb"))
    assert not fake


def test_a_tracker_that_fails_does_not_end_the_training(caplog):
    class Broken(FakeTracker):
        def log(self, values, iteration):
            raise ConnectionError("the network is down")

    writer = TrackingWriter(Broken(project="", name="", run_id="", config={}, folder=""))
    with EventStorage(0) as storage, caplog.at_level(logging.WARNING):
        for iteration in range(3):
            storage.iter = iteration
            storage.put_scalar("loss", 1.0)
            writer.write()
        writer.close()
    assert [record.message.count("the network is down") for record in caplog.records] == [1]


def test_a_missing_package_and_a_failing_start_are_named(toy_scenes, tmp_path, monkeypatch):
    cfg = tracked_cfg(tmp_path, "mlflow")
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match="mlflow-skinny"):
            preflight(cfg, trains=True)
    monkeypatch.setattr(event_writer, "require_package", lambda to: None)
    monkeypatch.setitem(event_writer.TRACKERS, "mlflow", lambda **_: (_ for _ in ()).throw(OSError("no store")))
    with pytest.raises(UserError, match=r"TRACKING\.TO .*no store"):
        Trainer(cfg)


def use_wandb(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def read_wandb(folder):
    (file,) = folder.glob("run/wandb/offline-run-*/run-*.wandb")
    assert json.loads((folder / "run" / RECORD).read_text())["run"] in file.name
    content = file.read_bytes()
    assert b"sem_seg/mIoU" in content and b"SOLVER.MAX_ITER" in content


def use_mlflow(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def read_mlflow(folder):
    run_id = json.loads((folder / "run" / RECORD).read_text())["run"]
    (stored,) = folder.glob(f"store/*/{run_id}")
    lines = (stored / "metrics" / "sem_seg" / "mIoU").read_text().splitlines()
    expected = logged_values(folder / "run", "sem_seg/mIoU")
    assert {int(line.split()[2]): float(line.split()[1]) for line in lines} == pytest.approx(expected)
    assert (stored / "params" / "SOLVER.MAX_ITER").read_text() == "4"


def use_trackio(folder, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(folder / "trackio"))
    for name, module in list(sys.modules.items()):  # those that another test has imported
        if name.partition(".")[0] == "trackio" and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", folder / "trackio")


def read_trackio(folder):
    with sqlite3.connect(folder / "trackio" / "segvit.db") as database:
        rows = database.execute("select step, metrics from metrics").fetchall()
    found = {step: json.loads(text)["sem_seg/mIoU"] for step, text in rows if "sem_seg/mIoU" in json.loads(text)}
    assert found == pytest.approx(logged_values(folder / "run", "sem_seg/mIoU"))


@pytest.mark.parametrize(
    "to, use, read",
    [("wandb", use_wandb, read_wandb), ("mlflow", use_mlflow, read_mlflow), ("trackio", use_trackio, read_trackio)],
)
def test_a_run_is_tracked_offline(toy_scenes, tmp_path, monkeypatch, to, use, read):
    pytest.importorskip(to, reason=f"{to} is not installed (extra: tracking)")
    use(tmp_path, monkeypatch)
    run(tracked_cfg(tmp_path / "run", to), resume=False)
    read(tmp_path)
    assert to in sys.modules


def test_a_damaged_record_names_the_file(tmp_path, fake):
    (tmp_path / RECORD).write_text('{"to": "wandb"')
    with pytest.raises(UserError, match=f"{RECORD} is damaged: delete it"):
        tracking_writers(tracked_cfg(tmp_path, "wandb"))
