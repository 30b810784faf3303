"""data.py: the two data sets against published facts, the IDX reader against bytes packed by hand, and every way in
which finding, downloading and storing can fail, against a real HTTP server on this machine.

Seen to fail on wrong versions: no MD5 check, one mirror only, the user's bad file ignored or deleted, a download
written straight to its final name or into a shared one, requests' errors taken for disk errors, no second folder,
no timeout, axes read little-endian, length not checked, v / 255, v / 128, digits transposed.
"""

import errno
import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from ddpm_lesson import data

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
ROOT = Path(data.__file__).parents[1]


def idx(*shape, values):
    return gzip.compress(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(values), mtime=0)


PIXELS = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)  # 50 kB that do not compress
GOOD = {IMAGES: idx(64, 28, 28, values=PIXELS.tobytes()), LABELS: idx(64, values=[i % 10 for i in range(64)])}
ALTERED = {name: body[:-1] + bytes([body[-1] ^ 1]) for name, body in GOOD.items()}


# --- the data sets


def test_digits_are_sklearns():
    from sklearn.datasets import load_digits

    images, labels = data.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32
    assert labels.shape == (1797,) and labels.dtype == torch.int64
    assert images.min() == -1 and images.max() == 1
    assert np.array_equal((images[:, 0].numpy() + 1) * 8, load_digits().images)  # row by row, and exactly
    assert np.array_equal(labels.numpy(), load_digits().target)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.mnist
def test_mnist_real_files():
    if any(data._find(name) is None for name in data.MD5):
        missing = "the four MNIST files are not on this machine (data/README.md says where to put them)"
        (pytest.fail if os.environ.get("DDPM_LESSON_REQUIRE_MNIST") == "1" else pytest.skip)(missing)
    facts = {  # counts per label, first labels, and the mean and deviation of v / 255 that the field quotes
        "train": ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], [5, 0, 4, 1, 9, 2], 0.1307, 0.3081),
        "test": ([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], [7, 2, 1, 0, 4, 1], 0.1325, 0.3105),
    }
    for split, (counts, first, mean, std) in facts.items():
        images, labels = data.mnist(split)
        assert images.shape == (sum(counts), 1, 28, 28) and images.dtype == torch.float32
        assert labels.shape == (sum(counts),) and labels.dtype == torch.int64
        assert images.min() == -1 and images.max() == 1
        assert labels.bincount().tolist() == counts and labels[:6].tolist() == first
        assert (images.double().mean().item() + 1) / 2 == pytest.approx(mean, abs=1e-4)
        assert images.double().std().item() / 2 == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize("split", ["Train", "t10k", "", None, ["train"]])
def test_unknown_split(split):
    with pytest.raises(ValueError, match='split = .* must be "train" or "test"'):
        data.mnist(split)


def test_import_is_light():
    code = """if True:
        import sys, numpy, torch
        before = set(sys.modules)
        import ddpm_lesson.data
        assert not {"sklearn", "pooch", "requests", "tqdm.auto"} & (set(sys.modules) - before)"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_registry_is_canonical():
    assert sorted(data.MD5) == sorted(
        f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    )
    assert len(data.MIRRORS) == 2 and all(m.startswith("https://") and m.endswith("/") for m in data.MIRRORS)
    readme = ROOT / "data" / "README.md"
    if readme.is_file():  # the installed package has no data/
        text = readme.read_text(encoding="utf-8")
        assert all(part in text for part in [*data.MD5, *data.MD5.values(), *data.MIRRORS])


# --- the IDX reader


def write(path, content, compress=True):
    path.write_bytes(gzip.compress(content) if compress else content)
    return path


def test_read_idx_by_hand(tmp_path):
    # two 2x3 images, spelled out byte by byte
    content = b"\x00\x00\x08\x03" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x02" + b"\x00\x00\x00\x03"
    content += bytes([0, 1, 2, 10, 11, 12, 100, 101, 102, 253, 254, 255])
    array = data.read_idx(write(tmp_path / "a.gz", content))
    assert array.dtype == np.uint8 and array.flags.writeable
    assert array.tolist() == [[[0, 1, 2], [10, 11, 12]], [[100, 101, 102], [253, 254, 255]]]
    assert data.read_idx(write(tmp_path / "b.gz", b"\0\0\x08\x01\0\0\1\2" + b"\7" * 258)).tolist() == [7] * 258


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "starts with bytes"),
        (b"\0\0\x08", "starts with bytes"),
        (b"\0\0\x08\0", "starts with bytes 00 00 08 00"),
        (b"\0\0\x0d\x01\0\0\0\1\1", "starts with bytes 00 00 0d 01"),  # IDX of floats
        (b"\1\0\x08\x01\0\0\0\1\1", "starts with bytes 01 00 08 01"),
        (b"<html>404</html>", "starts with bytes 3c 68 74 6d"),
        (b"\0\0\x08\x03\0\0\0\1\0\0\0\1", "header is cut short at 12 of 16"),
        (b"\0\0\x08\x01\0\0\0\3\1\2", r"\(3,\) needs 3 values, the file has 2"),
        (b"\0\0\x08\x01\0\0\0\3\1\2\3\4", r"\(3,\) needs 3 values, the file has 4"),
        (b"\0\0\x08\x02\0\0\0\2\0\0\0\2\1\2\3", r"\(2, 2\) needs 4 values, the file has 3"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff\1", "the file has 1"),  # must not allocate 2**64 bytes
    ],
)
def test_read_idx_refuses(tmp_path, content, message):
    with pytest.raises(ValueError, match=f"a.gz: .*{message}"):
        data.read_idx(write(tmp_path / "a.gz", content))


def test_read_idx_refuses_what_is_not_gzip(tmp_path):
    for content in [b"<html>", gzip.decompress(GOOD[LABELS]), GOOD[IMAGES][:-9], GOOD[IMAGES][:2000], ALTERED[LABELS]]:
        with pytest.raises(ValueError, match="a.gz: not a complete gzip file"):
            data.read_idx(write(tmp_path / "a.gz", content, compress=False))
    broken = bytearray(GOOD[LABELS])
    broken[10] = 0xFF  # not a block type that deflate has: zlib's own error
    with pytest.raises(ValueError, match="a.gz: not a complete gzip file"):
        data.read_idx(write(tmp_path / "a.gz", bytes(broken), compress=False))


# --- a mirror on this machine, and a home with a checkout and a cache


class Mirror:
    """Serves GOOD, or misbehaves as `mode` says; `hits` are the names asked for."""

    def __init__(self):
        self.mode, self.hits = "good", []
        self.half_sent = threading.Semaphore(0)  # counts the requests that "wait" holds half-way
        self.go_on = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    mirror.answer(self, self.path.strip("/"))
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client was killed: part of a test

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request, name):
        self.hits.append(name)
        body, status = GOOD[name], 200
        if self.mode == "missing":
            body, status = b"gone", 404
        elif self.mode == "html":
            body = b"<html>Please log in to the wireless network</html>"
        elif self.mode == "altered":
            body = ALTERED[name]
        elif self.mode == "truncated":
            body = body[: len(body) // 2]
        elif self.mode == "empty":
            body = b""
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2])
        if self.mode == "wait":
            request.wfile.flush()
            self.half_sent.release()
            assert self.go_on.wait(60)
        if self.mode != "cut":
            request.wfile.write(body[len(body) // 2 :])

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def dead_url():
    """Where nothing listens: a port that was just given back."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture
def mirrors():
    pair = Mirror(), Mirror()
    yield pair
    for mirror in pair:
        mirror.close()


@pytest.fixture
def home(tmp_path, monkeypatch, mirrors):
    """A folder with data/ (a checkout's), cache/ and given/, none of them with a file yet."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").touch()
    (tmp_path / "given").mkdir()
    monkeypatch.setattr(data, "CHECKOUT_DATA", tmp_path / "data")
    monkeypatch.setattr(pooch, "os_cache", lambda name: {"ddpm-lesson": tmp_path / "cache"}[name])
    monkeypatch.setattr(data, "MIRRORS", [mirror.url for mirror in mirrors])
    monkeypatch.setattr(data, "MD5", {name: hashlib.md5(body).hexdigest() for name, body in GOOD.items()})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DDPM_LESSON_DATA", raising=False)
    return tmp_path


def files(folder):
    """Every file below folder, so that a leftover of any name is seen, and empty folders too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def place(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in contents.items():
        (folder / name).write_bytes(body)


def assert_good(result):
    images, labels = result
    assert images.shape == (64, 1, 28, 28) and images.dtype == torch.float32
    assert np.array_equal(np.rint((images[:, 0].double().numpy() + 1) * 127.5), PIXELS)
    assert labels.dtype == torch.int64 and labels.tolist() == [i % 10 for i in range(64)]


def assert_downloaded(folder):
    assert files(folder) == [IMAGES, LABELS]
    assert all((folder / name).read_bytes() == GOOD[name] for name in GOOD)


# --- where it looks


def test_download_once_into_the_checkout(home, mirrors, capfd):
    assert_good(data.mnist())
    assert_downloaded(home / "data" / "mnist")
    assert_good(data.mnist())
    assert mirrors[0].hits == [IMAGES, LABELS] and mirrors[1].hits == []
    assert not (home / "cache").exists()
    assert capfd.readouterr() == ("", "")  # quiet where nobody watches


@pytest.mark.skipif(sys.platform == "win32", reason="umask")
def test_download_is_readable_by_the_class(home):
    previous = os.umask(0o022)
    try:
        data.mnist()
    finally:
        os.umask(previous)
    assert {path.stat().st_mode & 0o777 for path in (home / "data" / "mnist").iterdir()} == {0o644}


def test_progress_bar_on_a_terminal(home, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert_good(data.mnist())
    shown = capfd.readouterr().err
    assert f"downloading {data.MIRRORS[0]}{IMAGES}" in shown and "100%" in shown and "B/s" in shown


def test_installed_package_downloads_into_the_cache(home, mirrors):
    (home / "data" / "README.md").unlink()  # site-packages has no data/README.md
    assert_good(data.mnist())
    assert_downloaded(home / "cache")
    assert files(home / "data") == []


def test_the_test_split_is_t10k(home, monkeypatch):
    bodies = {"t10k-images-idx3-ubyte.gz": idx(2, 28, 28, values=[0, 255] * 784)}
    bodies["t10k-labels-idx1-ubyte.gz"] = idx(2, values=[7, 2])
    monkeypatch.setattr(data, "MD5", {name: hashlib.md5(body).hexdigest() for name, body in bodies.items()})
    place(home / "cache", bodies)
    images, labels = data.mnist("test")
    assert images[0, 0, 5, :4].tolist() == [-1, 1, -1, 1] and labels.tolist() == [7, 2]


@pytest.mark.parametrize("place_it", ["given", "data/mnist", "cache"])
def test_found_without_network(home, mirrors, monkeypatch, place_it):
    monkeypatch.setenv("DDPM_LESSON_DATA", str(home / "given"))
    place(home / place_it, GOOD)
    before = files(home)
    assert_good(data.mnist())
    assert mirrors[0].hits == [] and files(home) == before


def test_given_folder_comes_first_and_may_be_incomplete(home, mirrors, monkeypatch):
    monkeypatch.setenv("DDPM_LESSON_DATA", str(home / "given"))
    place(home / "given", {LABELS: GOOD[LABELS]})
    place(home / "data" / "mnist", {LABELS: b"never looked at"})
    assert_good(data.mnist())
    assert mirrors[0].hits == [IMAGES] and files(home / "given") == [LABELS]


def test_given_folder_may_be_missing_or_empty_or_start_with_a_tilde(home, mirrors, monkeypatch):
    place(home / "cache", GOOD)
    for value in ["", str(home / "nowhere"), "~/nowhere"]:
        monkeypatch.setenv("DDPM_LESSON_DATA", value)
        assert_good(data.mnist())
    for variable in ["HOME", "USERPROFILE"]:
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("DDPM_LESSON_DATA", "~/given")
    place(home / "given", ALTERED)
    with pytest.raises(ValueError, match="given"):
        data.mnist()


# --- bad files on this machine

BAD = {
    "altered": ALTERED[IMAGES],
    "truncated": GOOD[IMAGES][:1000],
    "empty": b"",
    "not gzip": b"<html>404</html>",
    "not IDX": gzip.compress(b"hello"),
    "another shape": idx(1, 2, 2, values=[1, 2, 3, 4]),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_file_of_the_user_is_named_and_kept(home, mirrors, monkeypatch, bad):
    monkeypatch.setenv("DDPM_LESSON_DATA", str(home / "given"))
    place(home / "given", {**GOOD, IMAGES: bad})
    with pytest.raises(ValueError) as error:
        data.mnist()
    for part in [str(home / "given" / IMAGES), hashlib.md5(bad).hexdigest(), data.MD5[IMAGES], "Replace", "unset"]:
        assert part in str(error.value)
    assert (home / "given" / IMAGES).read_bytes() == bad and mirrors[0].hits == []
    place(home / "given", GOOD)
    assert_good(data.mnist())  # the next try


def test_bad_file_of_the_user_is_kept_even_in_the_checkout(home, mirrors, monkeypatch):
    monkeypatch.setenv("DDPM_LESSON_DATA", str(home / "data" / "mnist"))
    place(home / "data" / "mnist", ALTERED)
    with pytest.raises(ValueError, match="not the canonical MNIST file"):
        data.mnist()
    assert (home / "data" / "mnist" / IMAGES).read_bytes() == ALTERED[IMAGES]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("where", ["data/mnist", "cache"])
def test_bad_file_of_ours_is_replaced_and_said(home, mirrors, where, bad):
    if where == "cache":
        (home / "data" / "README.md").unlink()
    place(home / where, {**GOOD, IMAGES: bad})
    said = f"{IMAGES} is not .* MD5 {hashlib.md5(bad).hexdigest()}, expected {data.MD5[IMAGES]}"
    with pytest.warns(UserWarning, match=said) as seen:
        assert_good(data.mnist())
    assert seen[0].filename == __file__  # points at the caller's line
    assert_downloaded(home / where)
    assert mirrors[0].hits == [IMAGES]


def test_bad_file_of_ours_stays_until_a_good_one_is_there(home, mirrors):
    place(home / "data" / "mnist", ALTERED)
    for mirror in mirrors:
        mirror.mode = "cut"
    with pytest.warns(UserWarning), pytest.raises(ConnectionError):
        data.mnist()
    assert (home / "data" / "mnist" / IMAGES).read_bytes() == ALTERED[IMAGES]
    assert files(home / "data" / "mnist") == [IMAGES, LABELS]


# --- bad mirrors

MODES = ["missing", "html", "altered", "truncated", "empty", "cut"]


@pytest.mark.parametrize("mode", [*MODES, "dead"])
def test_second_mirror_steps_in(home, mirrors, monkeypatch, mode):
    mirrors[0].mode = mode
    if mode == "dead":
        monkeypatch.setattr(data, "MIRRORS", [dead_url(), mirrors[1].url])
    assert_good(data.mnist())
    assert_downloaded(home / "data" / "mnist")
    assert mirrors[1].hits == [IMAGES, LABELS]


@pytest.mark.parametrize("mode", [*MODES, "dead"])
def test_no_mirror_works(home, mirrors, monkeypatch, mode):
    for mirror in mirrors:
        mirror.mode = mode
    if mode == "dead":
        monkeypatch.setattr(data, "MIRRORS", [dead_url(), dead_url()])
    monkeypatch.setenv("DDPM_LESSON_DATA", str(home / "given"))
    with pytest.raises(ConnectionError) as error:
        data.mnist()
    folders = [str(home / "given"), str(home / "data" / "mnist"), str(home / "cache")]
    for part in [IMAGES, *data.MIRRORS, *folders, "DDPM_LESSON_DATA", "data/README.md"]:
        assert part in str(error.value)
    assert files(home) == ["data", "data/README.md".replace("/", os.sep), os.path.join("data", "mnist"), "given"]
    monkeypatch.setattr(data, "MIRRORS", [mirror.url for mirror in mirrors])
    mirrors[1].mode = "good"
    assert_good(data.mnist())  # the next try
    assert_downloaded(home / "data" / "mnist")


def test_what_one_try_got_is_kept_for_the_next(home, mirrors):
    place(home / "data" / "mnist", {IMAGES: GOOD[IMAGES]})
    for mirror in mirrors:
        mirror.mode = "cut"
    with pytest.raises(ConnectionError, match=LABELS):
        data.mnist()
    assert files(home / "data" / "mnist") == [IMAGES]
    mirrors[0].mode, mirrors[0].hits = "good", []
    assert_good(data.mnist())
    assert mirrors[0].hits == [LABELS]


def test_a_stalled_mirror_counts_as_dead(home, mirrors, monkeypatch):
    real = pooch.HTTPDownloader
    timeouts = []

    def impatient(**options):
        timeouts.append(options["timeout"])
        return real(**{**options, "timeout": 0.2})

    monkeypatch.setattr(pooch, "HTTPDownloader", impatient)
    mirrors[0].mode = "wait"
    assert_good(data.mnist())
    assert mirrors[1].hits == [IMAGES, LABELS] and 5 <= timeouts[0] <= 60
    assert_downloaded(home / "data" / "mnist")


# --- folders that cannot be written, disks that are full


def test_unwritable_checkout_falls_back_to_the_cache(home, mirrors):
    (home / "data" / "mnist").write_bytes(b"")  # a file where the folder should be binds root too
    assert_good(data.mnist())
    assert_downloaded(home / "cache")
    assert (home / "data" / "mnist").read_bytes() == b""


def test_no_folder_can_be_written(home, mirrors):
    for folder in ["data/mnist", "cache"]:
        (home / folder).write_bytes(b"")
    before = files(home)
    with pytest.raises(OSError, match="cannot store") as error:
        data.mnist()
    for part in [IMAGES, str(home / "data" / "mnist"), str(home / "cache"), "DDPM_LESSON_DATA", "writable"]:
        assert part in str(error.value)
    assert files(home) == before and mirrors[0].hits == []
    (home / "cache").unlink()
    assert_good(data.mnist())  # the next try
    assert_downloaded(home / "cache")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permission bits bind neither here nor root")
def test_read_only_folder_by_permission(home):
    (home / "data").chmod(0o555)
    try:
        assert_good(data.mnist())
    finally:
        (home / "data").chmod(0o755)
    assert_downloaded(home / "cache")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_folder_refuses_a_new_file(home, monkeypatch, code):
    def refuse(*args, dir, **options):
        raise OSError(code, os.strerror(code), str(dir))

    with monkeypatch.context() as patch:
        patch.setattr(data.tempfile, "TemporaryDirectory", refuse)
        with pytest.raises(OSError, match=f"cannot store(.|\n)*{os.strerror(code)}"):
            data.mnist()
    assert_good(data.mnist())


class FullDisk(pooch.HTTPDownloader):
    """Writes the first half of what comes, then the disk is full."""

    full_folders = ()

    def __call__(self, url, output_file, pooch, **options):
        super().__call__(url, output_file, pooch, **options)
        if any(folder in Path(output_file).parents for folder in self.full_folders):
            os.truncate(output_file, os.path.getsize(output_file) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_falls_back_to_the_cache(home, monkeypatch):
    monkeypatch.setattr(FullDisk, "full_folders", [home / "data"])
    monkeypatch.setattr(pooch, "HTTPDownloader", FullDisk)
    assert_good(data.mnist())
    assert_downloaded(home / "cache")
    assert files(home / "data") == ["README.md", "mnist"]


def test_full_disk_everywhere(home, monkeypatch):
    monkeypatch.setattr(FullDisk, "full_folders", [home])
    with monkeypatch.context() as patch:
        patch.setattr(pooch, "HTTPDownloader", FullDisk)
        with pytest.raises(OSError, match=f"cannot store(.|\n)*{os.strerror(errno.ENOSPC)}(.|\n)*Free some space"):
            data.mnist()
    assert files(home / "data") == ["README.md", "mnist"] and files(home / "cache") == []
    assert_good(data.mnist())  # the next try
    assert_downloaded(home / "data" / "mnist")


def test_write_that_really_fails_half_way(home):
    """The system itself refuses the bytes after the 4096th, as a full disk would, and for root too."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as error:
            data.mnist()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot store" in str(error.value) and os.strerror(errno.EFBIG) in str(error.value)
    assert files(home / "data") == ["README.md", "mnist"] and files(home / "cache") == []
    assert_good(data.mnist())


# --- interrupted, and two at once


def test_interrupted_by_the_keyboard(home, mirrors, monkeypatch):
    class Interrupted(pooch.HTTPDownloader):
        def __call__(self, url, output_file, pooch, **options):
            super().__call__(url, output_file, pooch, **options)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pooch, "HTTPDownloader", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.mnist()
    assert files(home / "data") == ["README.md", "mnist"]
    assert_good(data.mnist())
    assert_downloaded(home / "data" / "mnist")


def start_process(home, mirror):
    """Another Python that calls mnist() in the same home."""
    code = f"""if True:
        from pathlib import Path
        from ddpm_lesson import data
        data.CHECKOUT_DATA, data.MD5, data.MIRRORS = Path({str(home / "data")!r}), {data.MD5!r}, [{mirror.url!r}]
        print(tuple(data.mnist()[0].shape))"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_killed_half_way(home, mirrors):
    mirrors[0].mode = "wait"
    process = start_process(home, mirrors[0])
    assert mirrors[0].half_sent.acquire(timeout=120)
    process.kill()
    process.communicate()
    assert not (home / "data" / "mnist" / IMAGES).exists()
    mirrors[0].mode = "good"
    assert_good(data.mnist())
    assert all((home / "data" / "mnist" / name).read_bytes() == GOOD[name] for name in GOOD)


def test_two_processes_at_once(home, mirrors):
    mirrors[0].mode = "wait"
    processes = [start_process(home, mirrors[0]) for _ in range(2)]
    for _ in processes:  # both hold half of the first file
        assert mirrors[0].half_sent.acquire(timeout=120)
    assert not (home / "data" / "mnist" / IMAGES).exists()
    mirrors[0].mode = "good"
    mirrors[0].go_on.set()
    for process in processes:
        assert process.communicate(timeout=120)[0] == "(64, 1, 28, 28)\n" and process.returncode == 0
    assert mirrors[0].hits.count(IMAGES) == 2
    assert_downloaded(home / "data" / "mnist")


def test_many_threads_at_once(home):
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: data.mnist(), range(8)):
            assert_good(result)
    assert_downloaded(home / "data" / "mnist")
