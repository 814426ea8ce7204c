"""The command line: exit codes, messages, names, pipes, JSON, and outputs that are whole or not there."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from clips import make_clip

import vcodec
from vcodec.cli import main, options

TESTS = Path(__file__).parent
ROOT = TESTS.parent
INFO_KEYS = [
    "format_version",
    "codec",
    "k",
    "width",
    "height",
    "frames",
    "fps",
    "duration_s",
    "audio",
    "file_bytes",
    "payload_bytes",
    "bpp",
    "keyframes",
    "weights_sha256",
    "settings",
]
EVAL_KEYS = [
    "frames",
    "file_bytes",
    "bpp",
    "kbps",
    "psnr_y",
    "psnr_u",
    "psnr_v",
    "psnr_yuv",
    "psnr_rgb",
    "psnr_y_min",
    "ssim",
    "ms_ssim",
]


@pytest.fixture(autouse=True)
def _here(standin_codec: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def coded(clip: Path) -> Path:
    path = clip.with_name("coded.vae")
    with pytest.MonkeyPatch.context() as patch:
        import vcodec.checkpoint

        patch.setattr(vcodec.checkpoint, "load_codec", standin.load_codec)
        vcodec.encode(clip, path, codec="standin", gop=8, overwrite=True)  # a worker may come back to these tests
    return path


def start(*arguments: object, delay: float = 0.0, **options: Any) -> subprocess.Popen[bytes]:
    """The command line with the stand-in codec, in a process of its own."""
    command = [sys.executable, str(TESTS / "standin.py"), *map(str, arguments)]
    environment = os.environ | {"STANDIN_DELAY": str(delay)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, env=environment, **pipes)


def run(*arguments: object, **options: Any) -> tuple[int, bytes, str]:
    """Exit code, standard output and standard error of a run."""
    given = options.pop("input", None)
    process = start(*arguments, stdin=subprocess.PIPE, **options)
    out, err = process.communicate(given, timeout=60)
    return process.returncode, out, err.decode()


# ------------------------------------------------------------------ start-up


@pytest.mark.parametrize("arguments", [["--help"], ["info", "CODED"], ["info", "CODED", "--json"], ["--version"]])
def test_help_and_info_load_nothing_heavy(coded: Path, arguments: list[str]) -> None:
    """`--help` and `info` import neither torch nor numpy nor av nor rich."""
    words = [str(coded) if word == "CODED" else word for word in arguments]
    command = [sys.executable, "-X", "importtime", "-m", "vcodec", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "vcodec" in loaded
    assert not loaded & {"torch", "numpy", "av", "rich", "scipy", "safetensors", "constriction"}


def test_importing_vcodec_is_light() -> None:
    """`import vcodec` imports nothing heavy, and its public names are there, sorted, and no others."""
    code = "import sys, vcodec; print(*sorted({'torch', 'numpy', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert list(vcodec.__all__) == sorted(vcodec.__all__)
    assert vcodec.encode is vcodec.api.encode and vcodec.DamagedError.exit_code == 3
    with pytest.raises(AttributeError):
        vcodec.nothing  # noqa: B018


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command answers -h and --help, and is listed with one line."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in ("encode", "decode", "info", "verify", "eval", "rd-curve", "cut", "cat", "codecs", "train"):
        assert f"\n  {name} " in listed
        for flag in ("-h", "--help"):
            assert main([name, flag]) == 0
            assert f"vcodec {name}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vcodec {vcodec.__version__}\n"


# ------------------------------------------------------------------ the usual way


def test_encode_and_decode(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """in.mp4 becomes in.vae, which becomes in.mp4; the summary is one line on standard output."""
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    assert main(["encode", "in.mp4", "--codec", "standin", "--k", "16"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("in.vae: 40 frames of 64x48, standin K 16: ") and out.out.count("\n") == 1
    assert out.err == ""
    source.unlink()
    assert main(["decode", "in.vae"]) == 0
    assert capsys.readouterr().out.startswith("in.mp4: 40 frames, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "in.vae"]
    assert main(["encode", "in.mp4", "--codec", "standin", "-o", "q.vae", "--quiet"]) == 0
    assert main(["decode", "q.vae", "-o", "frames/", "-q"]) == 0
    assert len(list((tmp_path / "frames").iterdir())) == 40
    assert capsys.readouterr() == ("", "")


def test_json_of_each_command(clip: Path, coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one JSON value with the keys of the contract, and nothing else."""

    def result(*arguments: object) -> Any:
        assert main([str(one) for one in arguments]) == 0
        out = capsys.readouterr()
        assert out.err == ""
        return json.loads(out.out)

    encoded = result("encode", clip, "--codec", "standin", "-o", "out.vae", "--json")
    assert {*INFO_KEYS, "encode_fps", "seconds", "peak_rss_bytes"} <= set(encoded)
    info = result("info", "--json", "out.vae")
    assert set(INFO_KEYS) <= set(info) and all(info[key] == encoded[key] for key in INFO_KEYS)
    decoded = result("decode", "out.vae", "-o", "back.mkv", "--json")
    assert {"frames", "decode_fps", "seconds", "peak_rss_bytes", "lost"} <= set(decoded)
    verified = result("verify", "out.vae", "--json")
    assert verified["ok"] is True and {"chunks", "damaged", "frames"} <= set(verified)
    measured = result("eval", clip, "out.vae", "--json")
    assert set(EVAL_KEYS) <= set(measured)
    same = result("eval", clip, "back.mkv", "--json")
    assert {key: same[key] for key in EVAL_KEYS[4:]} == {key: measured[key] for key in EVAL_KEYS[4:]}
    assert measured["bpp"] == pytest.approx(encoded["bpp"]) and measured["ms_ssim"] is None
    assert measured["kbps"] == pytest.approx(8 * encoded["file_bytes"] / encoded["duration_s"] / 1000)
    assert result("cut", "out.vae", "-o", "cut.vae", "--start", "0.5", "--json")["frames"] > 0
    assert result("cat", "out.vae", "cut.vae", "-o", "cat.vae", "--json")["files"] == 2


def test_tables_for_people(clip: Path, coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """info, verify and eval print what they found in words."""
    for arguments, words in (
        (["info", coded], ("standin, K 32", "40 frames", "5 (0, 8, 16, 24, 32)", "aac, 48000 Hz, stereo")),
        (["verify", coded], ("ok, 5 chunks, 40 frames",)),
        (["eval", clip, coded], ("psnr_y ", " dB", "bpp", "ms_ssim")),
    ):
        assert main([str(one) for one in arguments]) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words), out


def test_codecs_lists_the_registry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`codecs` prints what the registry describes, as a table and as JSON with the keys of the contract."""
    assert main(["codecs", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    keys = [
        "codec",
        "family",
        "paper",
        "parameters",
        "kmac_per_pixel",
        "stride",
        "latent_channels",
        "causal",
        "weights",
        "sha256",
    ]
    assert entries and all(set(keys) <= set(entry) for entry in entries)
    assert all(set(entry["kmac_per_pixel"]) == {"encode", "decode"} for entry in entries)
    assert all(entry["weights"] in ("bundled", "none") for entry in entries)
    known = {entry["codec"]: entry for entry in entries}
    monkeypatch.setattr("vcodec.checkpoint.describe_codec", known.__getitem__)  # that takes seconds
    assert main(["codecs"]) == 0
    table = capsys.readouterr().out
    assert all(entry["codec"] in table for entry in entries)


def test_pipes(clip: Path, tmp_path: Path) -> None:
    """`-` reads and writes pipes; only the file goes to standard output, the summary to standard error."""
    code, data, err = run("encode", clip, "-o", "-", "--codec", "standin", cwd=tmp_path)
    assert code == 0 and data.startswith(b"\x89VAE") and "40 frames" in err
    code, video, err = run("decode", "-", "-o", "-", input=data, cwd=tmp_path)
    assert code == 0 and video.startswith(b"YUV4MPEG2") and "40 frames" in err
    code, again, err = run("encode", "-", "-o", "-", "--codec", "standin", "--json", input=video, cwd=tmp_path)
    assert code == 0 and json.loads(err)["frames"] == 40 and again.startswith(b"\x89VAE")
    assert list(tmp_path.iterdir()) == []


def test_raw_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--raw and --fps describe headerless pictures."""
    np.arange(3 * 32 * 16 * 3 // 2, dtype=np.uint8).tofile("in.yuv")
    assert main(["encode", "in.yuv", "--raw", "32x16", "--fps", "30000/1001", "--codec", "standin", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["fps_exact"]) == (3, "30000/1001")


# ------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("00:10", 10.0), ("1:02:03.5", 3723.5), ("0.25", 0.25), ("90:00", 5400.0)],
)
def test_times(text: str, seconds: float) -> None:
    """Times are seconds, minutes:seconds, or hours:minutes:seconds."""
    assert options.parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("5MB", 5_000_000), ("300k", 300_000), ("1.5MiB", 1_572_864), ("1000", 1000), ("2 GB", 2 * 10**9)],
)
def test_sizes(text: str, count: int) -> None:
    """Sizes take decimal and binary units."""
    assert options.parse_size(text) == count


def test_bit_rates() -> None:
    """Bit rates take k and M, with or without a unit."""
    assert [options.parse_bitrate(one) for one in ("300k", "1.5M", "300kbps", "64000")] == [
        3e5,
        1.5e6,
        3e5,
        64000,
    ]


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("encode absent.mp4 --codec standin", 1, "absent.mp4"),
        ("encode CLIP --codec absent -o out.vae", 1, "absent"),
        ("decode absent.vae", 1, "absent.vae"),
        ("decode CLIP -o out.mp4", 1, "not a .vae file"),
        ("info CLIP", 1, "not a .vae file"),
        ("info absent.vae", 1, "absent.vae"),
        ("verify CLIP", 1, "not a .vae file"),
        ("eval CLIP absent.mp4", 1, "absent.mp4"),
        ("decode CODED -o out.xyz", 1, "out.xyz"),
        ("decode CODED -o absent/out.mp4", 1, "absent"),
        ("encode CLIP --codec standin -o TAKEN", 1, "-f"),
        ("decode CODED -o CODED", 1, "both input and output"),
        ("encode CLIP --k 1", 2, "--k"),
        ("encode CLIP --k 16 --psnr 30", 2, "k and psnr"),
        ("encode CLIP --bitrate 300x", 2, "300x"),
        ("encode CLIP --start 1:2:3:4", 2, "1:2:3:4"),
        ("encode CLIP --raw 32", 2, "32"),
        ("encode CLIP --fps 0", 2, "0"),
        ("encode - --codec standin", 2, "-o"),
        ("encode - --codec standin -o out.vae --psnr 30", 2, "pipe"),
        ("encode CLIP --device tpu -o out.vae", 2, "tpu"),
        ("encode CLIP --absent", 2, "--absent"),
        ("absent", 2, "absent"),
        ("encode", 2, "INPUT"),
    ],
)
def test_refusals_are_one_clear_line(
    arguments: str,
    code: int,
    words: str,
    clip: Path,
    coded: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be used exits 1, wrong usage 2; the message names the culprit; no traceback, no output."""
    (tmp_path / "taken.vae").write_bytes(b"precious")
    names = {"CLIP": str(clip), "CODED": str(coded), "TAKEN": "taken.vae"}
    assert main([names.get(word, word) for word in arguments.split()]) == code
    out, err = capsys.readouterr()
    assert out == "" and words in err and "Traceback" not in err
    if code == 1:
        assert err.startswith("vcodec: error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken.vae"]
    assert (tmp_path / "taken.vae").read_bytes() == b"precious"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--debug, wherever it stands, adds the traceback; a bug is one line without it."""
    assert main(["decode", "absent.vae", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err

    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("vcodec.api.encode", broken)
    assert main(["encode", "in.mp4"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("vcodec: error: ZeroDivisionError: by zero (a bug") and err.count("\n") == 1


def test_force_overwrites(clip: Path, tmp_path: Path) -> None:
    """-f replaces an output that exists."""
    (tmp_path / "out.vae").write_bytes(b"old")
    assert main(["encode", str(clip), "--codec", "standin", "-o", "out.vae", "-f"]) == 0
    assert (tmp_path / "out.vae").read_bytes().startswith(b"\x89VAE")


def test_damaged_files_exit_3(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file decodes with exit code 3 and its report; --strict writes nothing; verify says where."""
    data = bytearray(coded.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "broken.vae").write_bytes(data)
    assert main(["decode", "broken.vae", "-o", "back.mkv", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["lost"] == [[16, 23]] and "frames 16-23 are lost" in err and err.count("\n") == 1
    assert (tmp_path / "back.mkv").exists()
    assert main(["decode", "broken.vae", "-o", "strict.mkv", "--strict"]) == 3
    assert not (tmp_path / "strict.mkv").exists()
    capsys.readouterr()
    assert main(["verify", "broken.vae", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and len(report["damaged"]) == 1
    assert main(["eval", str(coded.with_name("clip.mp4")), "broken.vae", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["frames"] == 40


def test_eval_refuses_other_lengths_and_sizes(
    clip: Path, coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Videos of different length or size are not compared."""
    make_clip("short.mp4", frames=20, size=(64, 48))
    make_clip("small.mp4", frames=40, size=(32, 48))
    for reference, words in (("short.mp4", "20 frames"), ("small.mp4", "differ in size")):
        assert main(["eval", reference, str(coded)]) == 1
        assert words in capsys.readouterr().err


# ------------------------------------------------------------------ stopping


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_signals_leave_nothing(clip: Path, coded: Path, tmp_path: Path, command: str, name: str, code: int) -> None:
    """Ctrl-C and SIGTERM exit 130 and 143 with one line, and no file of any name stays."""
    out = tmp_path / ("out.vae" if command == "encode" else "out.mp4")
    make_clip(tmp_path.parent / "long.mkv", frames=200, size=(64, 48))
    source = tmp_path.parent / "long.mkv"
    if command == "decode":
        assert main(["encode", str(source), "--codec", "standin", "-o", str(tmp_path.parent / "long.vae"), "-fq"]) == 0
        source = tmp_path.parent / "long.vae"
    process = start(command, source, "-o", out, *(["--codec", "standin"] if command == "encode" else []), delay=0.2)
    wait_for_part(tmp_path, process)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, list(tmp_path.iterdir())) == (code, [])
    assert err.decode().startswith("vcodec: ") and err.count(b"\n") == 1


@pytest.mark.parametrize("frames", [None, 100])
def test_ctrl_c_is_heard_while_a_pipe_is_silent(tmp_path: Path, frames: int | None) -> None:
    """Waiting for a pipe that says nothing, or nothing more, Ctrl-C ends the command as anywhere else."""
    process = start("encode", "-", "-o", tmp_path / "out.vae", "--codec", "standin", stdin=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None and process.stdout is not None
    picture = b"FRAME\n" + bytes(384)
    process.stdin.write(b"Y" if frames is None else b"YUV4MPEG2 W16 H16 F25:1 C420jpeg\n" + frames * picture)
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if frames:
        wait_for_part(tmp_path, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr.read() == b"vcodec: interrupted\n" and list(tmp_path.iterdir()) == []
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def wait_for_part(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the temporary of a running command is there."""
    deadline = time.monotonic() + 30
    while not list(folder.iterdir()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_kill_leaves_nothing_under_the_name(clip: Path, tmp_path: Path) -> None:
    """kill -9 at a random moment leaves no output under the final name, and an old one as it was."""
    for old in (b"", b"precious"):
        out = tmp_path / "out.vae"
        if old:
            out.write_bytes(old)
        process = start("encode", clip, "-f", "-o", out, "--codec", "standin", delay=0.3)
        time.sleep(random.uniform(0.1, 1.0))
        process.kill()
        process.communicate(timeout=30)
        assert (out.read_bytes() if out.exists() else b"") == old


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_reader_that_goes_away_is_no_error(clip: Path, coded: Path, command: str) -> None:
    """When the reader of standard output goes away, the command ends quietly."""
    encode = ["encode", clip, "-o", "-", "--codec", "standin", "--k", "256"]
    process = start(*(encode if command == "encode" else ["decode", coded, "-o", "-"]), stdin=subprocess.DEVNULL)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141
