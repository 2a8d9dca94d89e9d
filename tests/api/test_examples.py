"""The examples lower the loss of a tiny model: a plain loop, a Lightning module, the Hugging Face Trainer."""

import pytest
import torch
from torch.utils.data import DataLoader

import segvit
from helpers.repository import PROJECT
from helpers.scripts import load_script

EXAMPLES = PROJECT / "examples"


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 48, "depth": 3, "vit_num_heads": 3}
    return segvit.create_model("vit_tiny_patch16_224", num_classes=4, **options)


@pytest.fixture
def samples():
    """Stripes of four classes, each of one colour."""
    labels = torch.arange(4).repeat_interleave(12).expand(32, 48).contiguous()
    image = (labels[None] * 60 + torch.tensor([0, 20, 40])[:, None, None]).byte()
    return [(image, labels)] * 32


def loss_of(model, samples):
    images, labels = next(iter(DataLoader(samples, batch_size=2)))
    with torch.no_grad():
        return float(sum(model.eval()(images, labels).values()))


def test_plain_loop(model, samples):
    before = loss_of(model, samples)
    loader = DataLoader(samples, batch_size=4)
    losses = list(load_script(EXAMPLES / "plain_loop.py").train(model, loader, loader, epochs=2, lr=3e-3))
    assert len(losses) == 2 and losses[-1] < 0.8 * before
    assert losses[-1] == pytest.approx(loss_of(model, samples), rel=1e-3)


def test_lightning(model, samples, tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed (extra: examples)")
    before = loss_of(model, samples)
    module = load_script(EXAMPLES / "lightning_module.py").SegViTModule(model, lr=3e-3)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    loader = DataLoader(samples, batch_size=4)
    trainer.fit(module, loader, loader)
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(loss_of(model, samples), rel=1e-3)
    assert loss_of(model, samples) < 0.8 * before


def test_hugging_face_trainer(model, samples, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: examples)")
    pytest.importorskip("accelerate", reason="accelerate is not installed (extra: examples)")
    before = loss_of(model, samples)
    dataset = [{"images": image, "labels": labels} for image, labels in samples]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        learning_rate=3e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    wrapped = load_script(EXAMPLES / "hf_trainer.py").ForTrainer(model.train())
    transformers.Trainer(model=wrapped, args=arguments, train_dataset=dataset).train()
    assert loss_of(model, samples) < 0.8 * before
