"""The command that trains Lab 2: what it leaves behind, alone and in two processes."""

import csv
import os
import re
import subprocess
import sys

import pytest
import torch
from matplotlib.image import imread
from torch.testing import assert_close

from ddpm_lesson.labs import LABS, _precision, main
from ddpm_lesson.models import UNet, load_notes, load_weights

SHORT = ["digits", "--steps", "4", "--batch", "8", "--every", "2", "--T", "20", "--cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    main([*SHORT, "--folder", str(folder)])
    return folder


def test_leaves_weights_pictures_and_losses(folder):
    """Broken: the network saved in place of its average; the losses of one step instead of their mean."""
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoint.pt", "digits_unet.safetensors", "losses.csv", "samples_000002.png", "samples_000004.png"]
    average = torch.load(folder / "checkpoint.pt", weights_only=True)["ema"]
    for name, v in load_weights(folder / "digits_unet.safetensors").state_dict().items():
        assert torch.equal(v, average["module." + name])
    with open(folder / "losses.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["2", "4"] and all(0 < float(row[1]) < 3 for row in rows)
    assert imread(folder / "samples_000004.png").shape[:2] == (64, 64)


def test_notes_say_what_was_done(folder):
    notes = load_notes(folder / "digits_unet.safetensors")
    expected = dict(steps=4, batch=8, lr=LABS["digits"][2]["lr"], T=20, schedule="cosine", predicts="eps", seed=0,
                    images=1797, processes=1, precision="no", device="cpu")
    assert expected.items() <= notes.items()
    assert notes["command"] == ("python -m ddpm_lesson.train digits --steps 4 --batch 8 --lr 0.002 --seed 0 --T 20 "
                                "--schedule cosine --predicts eps --precision no")
    assert notes["seconds"] >= 0
    with open(folder / "losses.csv", newline="") as file:
        assert abs(float(list(csv.reader(file))[-1][1]) - notes["loss"]) < 1e-4


def test_run_again_it_changes_nothing(folder, capsys):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    main([*SHORT, "--folder", str(folder)])
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert "4 steps are done already" in capsys.readouterr().out


def test_starts_from_given_weights(folder, tmp_path):
    """Broken: the weights not loaded; loaded after the average was made."""
    file = folder / "digits_unet.safetensors"
    main([*SHORT, "--folder", str(tmp_path), "--start", str(file), "--lr", "0"])
    for name, v in load_weights(tmp_path / "digits_unet.safetensors").state_dict().items():
        assert_close(v, load_weights(file).state_dict()[name])
    notes = load_notes(tmp_path / "digits_unet.safetensors")
    assert notes["started_from"] == load_notes(file) and notes["command"].endswith(f" --start {file}")
    with pytest.raises(ValueError, match="start must hold the weights of this lab's network, and mnist_classifier"):
        main([*SHORT, "--start", "mnist_classifier", "--folder", str(tmp_path / "other")])


def test_what_a_lost_machine_left_half_written_is_in_nobodys_way(folder, tmp_path):
    """A folder on a network drive may come back with a .part and an older checkpoint, or with a .part alone."""
    (tmp_path / "checkpoint.pt.part").write_bytes((folder / "checkpoint.pt").read_bytes()[:1000])
    main([*SHORT, "--folder", str(tmp_path)])
    assert not (tmp_path / "checkpoint.pt.part").exists()
    name = "digits_unet.safetensors"
    for key, v in load_weights(tmp_path / name).state_dict().items():
        assert torch.equal(v, load_weights(folder / name).state_dict()[key])


@pytest.mark.parametrize(("card", "precision"), [((7, 5), "no"), ((8, 0), "bf16"), ((8, 9), "bf16")])  # T4, A100, L4
def test_precision_is_what_the_card_computes_in(monkeypatch, card, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: card)
    assert _precision(on_cpu=False) == precision and _precision(on_cpu=True) == "no"


def test_two_processes_give_one_process_weights(folder, tmp_path):
    """Broken: each process trains alone (no cpu=True); each draws its own batch."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone",
               "-m", "ddpm_lesson.train", *SHORT, "--folder", str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1", "CI": "1"}, capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(re.findall("4 steps in", done.stdout)) == 1  # one of the two speaks
    assert load_notes(tmp_path / "digits_unet.safetensors")["processes"] == 2
    alone = load_weights(folder / "digits_unet.safetensors").state_dict()
    for name, v in load_weights(tmp_path / "digits_unet.safetensors").state_dict().items():
        # AdamW divides by the gradient's own size, so where that is almost 0 single numbers may differ by more.
        assert (v - alone[name]).norm() <= 1e-4 * alone[name].norm() + 1e-6, name
        assert_close(v, alone[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("given, message", [
    (["letters"], "invalid choice: 'letters'"), (["digits", "--precision", "fp16"], "invalid choice: 'fp16'"),
    (["digits", "--schedule", "flat"], "invalid choice: 'flat'"), ([], "required: lab"),
])
def test_wrong_arguments(given, message, capsys):
    with pytest.raises(SystemExit):
        main(given)
    assert message in capsys.readouterr().err


def test_wrong_numbers_are_named(tmp_path):
    with pytest.raises(ValueError, match="steps must be an int >= 1"):
        main(["digits", "--steps", "0", "--folder", str(tmp_path), "--cpu"])


def test_the_labs_networks_fit_the_images_and_the_file():
    for lab, (_, settings, _) in LABS.items():
        side, network = {"digits": 8, "mnist": 28}[lab], UNet(**settings)
        assert network(torch.zeros(1, 1, side, side), torch.tensor([1])).shape == (1, 1, side, side)
        assert 4 * sum(p.numel() for p in network.parameters()) < 7.9e6
