"""Files of weights: what comes out is what went in, to the last bit, and nothing but that ever comes out."""

import pytest
import torch
from safetensors.torch import save_file

from ddpm_lesson.models import NETWORKS, Transformer, UNet, load_notes, load_weights, save_weights, weights

SETTINGS = [(UNet, dict(widths=(8, 16), channels=2)), (Transformer, dict(n=12, patch=3, width=16, depth=1, heads=2))]


@pytest.fixture
def file(tmp_path):
    save_weights(UNet(widths=(8,)), tmp_path / "a.safetensors", dict(widths=(8,)), seconds=1.5, command="none")
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("kind, settings", SETTINGS)
def test_round_trip(kind, settings, tmp_path):
    """Broken: settings dropped (another network's shapes); the network left in train mode."""
    path, network = tmp_path / "a.safetensors", kind(**settings).train()
    for p in network.parameters():
        p.data = torch.randn(p.shape)
    save_weights(network, path, settings, lr=0.1, names=["a", "b"], none=None)
    loaded = load_weights(path)
    assert type(loaded) is kind and not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert all(torch.equal(v, network.state_dict()[name]) for name, v in loaded.state_dict().items())
    notes = load_notes(path)
    assert notes == load_notes(str(path)) and {"lr": 0.1, "names": ["a", "b"], "none": None}.items() <= notes.items()
    assert torch.__version__ in notes["versions"] and notes["machine"] and "commit" in notes
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_failed_write_keeps_the_old_file(file, monkeypatch):
    """Broken: written in place."""
    before = file.read_bytes()
    monkeypatch.setattr(weights.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        save_weights(UNet(widths=(16,)), file, dict(widths=(16,)))
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b[:100], lambda b: b[:-1], lambda b: b + b"x", lambda b: b[8:],
    lambda b: b.replace(b'"UNet"', b'"Vent"'), lambda b: b.replace(b"widths", b"wodths"),
    lambda b: b.replace(b"stem.bias", b"stem.bigs"),
])
def test_damaged(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="a.safetensors is damaged, or holds no network of this package"):
        load_weights(file)


def test_foreign(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(2)}, tmp_path / "b.pt")
    for name in ("a.safetensors", "b.pt"):
        for load in (load_weights, load_notes):
            with pytest.raises(ValueError, match=f"{name} is damaged, or holds no network"):
                load(tmp_path / name)


@pytest.mark.parametrize("load", [load_weights, load_notes])
def test_names(load, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    save_weights(UNet(widths=(8,)), tmp_path / "small.safetensors", dict(widths=(8,)))
    load("small")
    with pytest.raises(ValueError, match="source must be one of 'small', not 'large'"):
        load("large")
    with pytest.raises(ValueError, match="large.safetensors does not exist"):
        load(tmp_path / "large.safetensors")


def test_every_shipped_file_loads_and_is_small():
    files = sorted(weights.SHIPPED.glob("*.safetensors"))
    for file in files:
        assert type(load_weights(file.stem)).__name__ in NETWORKS
        assert file.stat().st_size <= 8e6 and {"command", "commit"} <= set(load_notes(file.stem))
