"""The rate-distortion laboratory: anchors, points, BD-rate, resuming and the report, on clips drawn here."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import bjontegaard
import numpy as np
import pytest
import standin
from clips import make_clip

import vcodec
from vcodec import media
from vcodec.cli import main
from vcodec.errors import InputError, UnknownNameError
from vcodec.evaluation import evaluate
from vcodec.metrics import FilterMeter
from vcodec.rd import Clip, compare_curves, open_clips, parse_anchor
from vcodec.rd.anchors import encode_anchor
from vcodec.rd.points import AnchorPoint, measure_point
from vcodec.rd.store import Store, point_key

ANCHORS = ("x264:veryfast:zerolatency", "x265:ultrafast", "svtav1:12", "vp9:8")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 96x80 with sound."""
    path = tmp_path_factory.mktemp("rd") / "small.mkv"
    make_clip(path, frames=12, size=(96, 80), audio="aac")
    return path


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return {"codec": "standin", "parameters": 0, "kmac_per_pixel": {"encode": 0.0, "decode": 0.0}}


@pytest.fixture
def here(
    standin_codec: None, monkeypatch: pytest.MonkeyPatch, described: dict[str, Any], tmp_path: Path
) -> Iterator[Path]:
    """The stand-in codec, described, and an empty folder to work in."""
    import vcodec.checkpoint

    monkeypatch.setattr(vcodec.checkpoint, "describe_codec", lambda name: described)
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def sweep(video: Path, *more: str) -> int:
    words = ["rd-curve", str(video), "--codec", "standin", "--k", "8,16,64,256", "--anchor", "x264:veryfast"]
    return main([*words, "--crf", "18,24,30,36", "-o", "out", *more])


@pytest.mark.parametrize("name", ANCHORS)
def test_anchors_are_measured_as_ffmpeg_does(video: Path, tmp_path: Path, name: str) -> None:
    """An anchor's point has the bytes of its whole soundless file, and the PSNR of FFmpeg's own filter."""
    anchor = parse_anchor(name)
    point = measure_point(open_clips([video], frames=None, duration=None)[0], AnchorPoint(anchor, 30, 128, 1), tmp_path)
    coded = tmp_path / "coded.mp4"
    assert encode_anchor(video, coded, anchor, crf=30, gop=128, threads=1) == 12 == point["frames"]
    with av.open(str(coded)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert point["file_bytes"] == coded.stat().st_size
    assert point["bpp"] == pytest.approx(8 * coded.stat().st_size / (12 * 96 * 80))
    check = FilterMeter("psnr")
    with media.open_video(video, audio=False) as one, media.open_video(coded, audio=False) as two:
        for want, got in zip(one.frames(), two.frames(), strict=True):
            check.add(want.planes, got.planes)
    filtered = check.result()
    for letter in "yuv":
        assert point[f"psnr_{letter}"] == pytest.approx(filtered[f"psnr_{letter}"], abs=0.01)
    assert len(point["psnr_frames"]) == 12 and point["encode_fps"] > 0 < point["decode_fps"]


def test_a_higher_crf_costs_less(video: Path, tmp_path: Path) -> None:
    """Rate and quality of an anchor fall with crf, and a GOP of 1 frame makes every frame a keyframe."""
    anchor = parse_anchor("x264:veryfast")
    sizes = []
    for crf in (20, 30, 40):
        encode_anchor(video, tmp_path / "x.mp4", anchor, crf=crf, gop=128, threads=1)
        sizes.append((tmp_path / "x.mp4").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    encode_anchor(video, tmp_path / "keys.mp4", anchor, crf=30, gop=1, threads=1)
    with av.open(str(tmp_path / "keys.mp4")) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


def test_odd_sizes_are_measured_at_their_own_size(tmp_path: Path) -> None:
    """A clip of odd sides is padded for the anchor and cropped before it is measured."""
    make_clip(tmp_path / "odd.mkv", frames=3, size=(67, 65), codec="ffv1")
    clip = open_clips([tmp_path / "odd.mkv"], frames=None, duration=None)[0]
    point = measure_point(clip, AnchorPoint(parse_anchor("x264"), 1, 128, 1), tmp_path)
    assert point["psnr_y"] > 45 and point["bpp"] == pytest.approx(8 * point["file_bytes"] / (3 * 67 * 65))


def test_anchor_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown encoders, presets, tunes and crf are refused with what there is; so is an FFmpeg without the encoder."""
    assert parse_anchor("svtav1").name == "svtav1:8"
    for name, words in (
        ("h264", "did you mean 'x264'"),
        ("x264:meduim", "did you mean 'medium'"),
        ("x265:medium:zerolatncy", "did you mean 'zerolatency'"),
        ("vp9:9", "There are: 0, 1"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            parse_anchor(name)
    with pytest.raises(InputError, match="choose 0 to 51"):
        parse_anchor("x264").check_crf(52)

    def absent(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.codec, "Codec", absent)
    with pytest.raises(InputError, match="no encoder libx265; leave this anchor out"):
        parse_anchor("x265:medium")


def curve(rates: list[float], quality: list[float]) -> list[dict[str, Any]]:
    return [{"bpp": rate, "psnr_yuv": value} for rate, value in zip(rates, quality)]


def test_bd_rate_is_the_package_s_over_the_overlap() -> None:
    """A curve at 80 % of the rate has -20 %; the overlap and its share are stated; order does not matter."""
    rates, quality = [0.1, 0.2, 0.4, 0.8, 1.6], [30.0, 33.0, 35.5, 38.0, 41.0]
    found = compare_curves(curve([0.8 * rate for rate in rates], quality)[::-1], curve(rates, quality))
    assert found.percent == pytest.approx(-20) and found.overlap == (30, 41) and found.overlap_share == 1
    part = compare_curves(curve(rates, [value + 4 for value in quality]), curve(rates, quality))
    own = bjontegaard.bd_rate(
        rates, quality, rates, [v + 4 for v in quality], method="pchip", require_matching_points=False, min_overlap=0
    )
    assert part.percent == pytest.approx(own) and part.overlap == (34, 41)
    assert part.overlap_share == pytest.approx(7 / 11)


def test_bd_rate_is_refused_where_it_cannot_be_told() -> None:
    """Under 4 points, or without overlap, there is no figure but a reason; points without gain are left out."""
    rates, quality = [0.1, 0.2, 0.4, 0.8], [30.0, 33.0, 35.5, 38.0]
    assert "under 4 points" in compare_curves(curve(rates[:3], quality[:3]), curve(rates, quality)).note
    apart = compare_curves(curve(rates, [value + 20 for value in quality]), curve(rates, quality))
    assert apart.percent is None and "no overlap" in apart.note
    bumpy = compare_curves(curve([0.1, 0.2, 0.3, 0.4, 0.8], [30, 33, 32.9, 35.5, 38]), curve(rates, quality))
    assert bumpy.percent == pytest.approx(0, abs=1e-9) and bumpy.points == (4, 4) and "1 points" in bumpy.note


def test_rd_curve_writes_its_report(video: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """rd-curve writes the contract's JSON, a CSV, a PNG and a page without links; its figures are those of eval."""
    assert sweep(video, "--gop", "6") == 0
    shown = capsys.readouterr().out
    assert "BD-rate" in shown and "bpp" in shown and "a standin" in shown
    report = json.loads((here / "out" / "rd.json").read_text())
    assert {"curves", "bd_rate", "conditions"} <= set(report) and report["conditions"]["gop"] == 6
    own, anchor = report["curves"]
    assert own["codec"] == own["label"] == "standin" and anchor["command"].startswith("ffmpeg -i INPUT")
    for one, setting in ((own, "k"), (anchor, "crf")):
        for point in one["points"]:
            wanted = {setting, "bpp", "psnr_y", "psnr_yuv", "psnr_rgb", "ms_ssim", "encode_fps", "decode_fps"}
            assert wanted <= set(point) and "view" not in point
    vcodec.encode(video, "one.vae", codec="standin", k=16, gop=6, audio=False)
    measured, _ = evaluate(video, "one.vae")
    point = next(point for point in own["points"] if point["k"] == 16)
    for name, value in measured.items():
        assert point[name] == (pytest.approx(value) if isinstance(value, float) else value), name
    again = compare_curves(own["points"], anchor["points"])
    assert report["bd_rate"]["standin"]["x264:veryfast"] == again.percent
    rows = list(csv.DictReader((here / "out" / "rd.csv").read_text().splitlines()))
    assert len(rows) == 8 and float(rows[0]["bpp"]) == own["points"][0]["bpp"]
    assert (here / "out" / "rd.png").read_bytes().startswith(b"\x89PNG")
    page = (here / "out" / "rd.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", page)
    data = json.loads(page.partition("const R = ")[2].partition(";\nconst $")[0])
    assert data["views"][0]["source"] and len(data["views"][0]["rates"]) == 3


def test_rd_curve_resumes(
    video: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped sweep keeps its points; the next measures the missing ones alone, and nothing when all are there."""
    import vcodec.rd.sweep as module

    calls: list[Any] = []

    def measure(clip: Clip, point: Any, work: Path) -> dict[str, Any]:
        if len(calls) == 3 and not resumed:
            raise InputError("stopped")
        calls.append(point)
        return measure_point(clip, point, work)

    monkeypatch.setattr(module, "measure_point", measure)
    resumed = False
    assert sweep(video, "--cache", "kept") == 1
    assert not (here / "out" / "rd.json").exists() and len(list((here / "kept").iterdir())) == 3
    resumed = True
    assert sweep(video, "--cache", "kept") == 0 and len(calls) == 8
    assert sweep(video, "--cache", "kept") == 1
    assert "exists already; write the report anew with -f" in capsys.readouterr().err
    assert sweep(video, "--cache", "kept", "-f", "--json") == 0 and len(calls) == 8
    assert json.loads(capsys.readouterr().out)["conditions"]["points_computed"] == 0
    assert sweep(video, "--cache", "kept", "-f", "-q", "--gop", "7") == 0 and len(calls) == 16
    assert sweep(video, "--cache", "kept", "-f", "-q", "--gop", "7", "--recompute") == 0 and len(calls) == 24


def test_what_a_point_s_key_depends_on(video: Path, tmp_path: Path) -> None:
    """Another content, length, crf, GOP or preset is another key; another name of the same file is the same."""
    anchor = parse_anchor("x264")
    clip = open_clips([video], frames=None, duration=None)[0]
    (tmp_path / "copy.mkv").write_bytes(video.read_bytes())
    (tmp_path / "other.mkv").write_bytes(video.read_bytes() + b"\0")
    same, other = (open_clips([tmp_path / f"{n}.mkv"], frames=None, duration=None)[0] for n in ("copy", "other"))
    short = open_clips([video], frames=5, duration=None)[0]
    point = AnchorPoint(anchor, 30, 128, None)
    assert point_key(same, point) == point_key(clip, point)
    keys = {point_key(one, point) for one in (clip, other, short)}
    keys |= {point_key(clip, AnchorPoint(parse_anchor("x264:slow"), 30, 128, None))}
    keys |= {point_key(clip, AnchorPoint(anchor, 31, 128, None)), point_key(clip, AnchorPoint(anchor, 30, 64, None))}
    assert len(keys) == 6


def test_a_broken_record_is_measured_again(tmp_path: Path) -> None:
    """A record that cannot be read is as if it were not there."""
    store = Store(tmp_path / "points")
    store.put("key", {"bpp": 1.0})
    assert store.get("key") == {"bpp": 1.0}
    (tmp_path / "points" / "key.json").write_text('{"bpp": 1')
    assert store.get("key") is None


def test_a_checkpoint_names_its_own_codec(video: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --weights the curve is called by the checkpoint's codec, whatever --codec says."""
    standin.save_codec(standin.StandIn("standin", b"7"), Path("w.safetensors"))
    words = [
        "rd-curve",
        str(video),
        "--weights",
        "w.safetensors",
        "--anchor",
        "none",
        "--k",
        "8",
        "-o",
        "out",
        "--json",
    ]
    assert main([*words, "--frames", "99"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [curve["label"] for curve in report["curves"]] == ["standin"]
    vcodec.encode(video, "one.vae", k=8, weights="w.safetensors", audio=False)
    assert report["curves"][0]["points"][0]["file_bytes"] == Path("one.vae").stat().st_size


def test_shortened_clips(video: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--frames and --duration shorten both sides alike; --codec none leaves anchors alone."""
    words = ["rd-curve", str(video), "--crf", "30", "--anchor", "x264:ultrafast", "--codec", "none", "-f", "--json"]
    for more, frames in ((["--frames", "5"], 5), (["--duration", "0.2"], 5)):
        assert main([*words, "-o", "out", *more]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["sources"][0]["frames"] == report["curves"][0]["points"][0]["frames"] == frames


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("absent.mp4 -o out", 1, "absent.mp4"),
        ("VIDEO -o out --anchor h266", 1, "no anchor 'h266'"),
        ("VIDEO -o out --crf 70", 1, "choose 0 to 51"),
        ("VIDEO -o out --k 2,x", 2, "not a list of whole numbers"),
        ("VIDEO -o out --codec none --anchor none", 2, "nothing to sweep"),
        ("VIDEO VIDEO -o out", 1, "two inputs are called"),
        ("VIDEO", 2, "--output"),
    ],
)
def test_wrong_calls(
    video: Path, here: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, message: str
) -> None:
    """Each wrong call is refused in a line that names the way out, and writes no report."""
    given = [
        "rd-curve",
        *words.replace("VIDEO", str(video)).split(),
        *(["--codec", "standin"] if "none" not in words else []),
    ]
    assert main(given) == code
    assert message in capsys.readouterr().err
    assert not list(here.glob("out/rd.*"))


def test_parallel_jobs_give_the_same_points(video: Path, tmp_path: Path) -> None:
    """Two jobs measure what one does."""
    from vcodec.rd import Sweep, run_sweep

    clips = open_clips([video], frames=4, duration=None)
    anchors = [parse_anchor("x264:ultrafast")]
    results = []
    for jobs in (1, 2):
        options = Sweep(codecs=(), anchors=anchors, crf=(20, 30), threads=1, jobs=jobs)
        report = run_sweep(clips, options, Store(tmp_path / str(jobs)))
        results.append([(point["crf"], point["bpp"], point["psnr_yuv"]) for point in report["curves"][0]["points"]])
    assert results[0] == results[1] and len(results[0]) == 2


def test_gray_clips_are_compared_in_luma(here: Path) -> None:
    """Of a gray clip every side is measured in luma alone."""
    ramp = np.arange(96, dtype=np.uint8)[None].repeat(80, 0)
    make_clip("gray.mkv", frames=[(ramp + i,) for i in range(4)], codec="ffv1", pixel_format="gray")
    clip = open_clips([Path("gray.mkv")], frames=None, duration=None)[0]
    point = measure_point(clip, AnchorPoint(parse_anchor("x264"), 30, 128, 1), here)
    standin.encode("gray.mkv", "gray.vae")
    report, _ = evaluate("gray.mkv", "gray.vae")
    for one in (point, report):
        assert one["psnr_u"] is None and one["psnr_yuv"] == one["psnr_y"]
