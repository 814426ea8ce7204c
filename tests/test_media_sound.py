"""Sound: packets copied untouched out of one container and into another."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import make_clip

from vcodec.media import AudioPacket, AudioStream, Frame, VideoInfo, create_video, open_video


def split(path, **options):
    with open_video(path, **options) as reader:
        items = list(reader)
    sound = [i for i in items if isinstance(i, AudioPacket)]
    return reader.info, [i for i in items if isinstance(i, Frame)], sound


def copy(source, target, **options):
    with open_video(source, **options) as reader, create_video(target, reader.info) as writer:
        for item in reader:
            writer.write(item)
    return writer


def raw_packets(path, stream=0) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=stream) if p.size]


def samples(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray().reshape(-1) for f in container.decode(audio=0)])


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "ac3", "pcm_s16le", "alac", "eac3"])
def test_packets_come_through_byte_for_byte(tmp_path, suffix, codec):
    """Audio packets go into AudioPacket and into mp4, mov and mkv without a changed byte or a moved time."""
    source, target = tmp_path / "in.mkv", tmp_path / f"out.{suffix}"
    make_clip(source, audio=codec, frames=30)
    writer = copy(source, target)
    assert writer.notes == []
    info, frames, packets = split(source)
    assert [p.data for p in packets] == raw_packets(source) == raw_packets(target)
    new_info, new_frames, new_packets = split(target)
    stream, new_stream = info.audio[0], new_info.audio[0]
    assert (new_stream.codec, new_stream.sample_rate, new_stream.layout) == (stream.codec, 48000, "stereo")
    assert new_stream.extradata == stream.extradata
    offset = packets[0].pts * stream.time_base - frames[0].pts * info.time_base
    new_offset = new_packets[0].pts * new_stream.time_base - new_frames[0].pts * new_info.time_base
    assert abs(offset - new_offset) <= Fraction(1, 1000)
    assert len(samples(target)) >= len(samples(source))


def test_aac_of_mp4_survives_twice(tmp_path):
    """mp4 to mkv to mp4: the bytes, the priming and the sync are those of the source."""
    make_clip(tmp_path / "a.mp4", audio="aac", audio_start=0.5, frames=30, seconds=0.7)
    copy(tmp_path / "a.mp4", tmp_path / "b.mkv")
    copy(tmp_path / "b.mkv", tmp_path / "c.mp4")
    first, _, packets = split(tmp_path / "a.mp4")
    last, frames, again = split(tmp_path / "c.mp4")
    assert [p.data for p in packets] == [p.data for p in again]
    assert all(p.keyframe for p in again)
    for one, other in zip(packets, again):
        assert abs(one.pts * first.audio[0].time_base - other.pts * last.audio[0].time_base) < Fraction(1, 500)
    assert frames[0].pts == 0 and packets[0].pts * first.audio[0].time_base > Fraction(2, 5)


def test_priming_is_negative_time(tmp_path):
    """AAC's first packet, which only primes the decoder, lies before zero, and the picture at zero."""
    make_clip(tmp_path / "a.mp4", audio="aac")
    _, frames, packets = split(tmp_path / "a.mp4")
    assert (packets[0].pts, packets[1].pts, frames[0].pts) == (-1024, 0, 0)


def test_all_streams_are_copied_with_language(tmp_path):
    """Several audio streams keep their order, codec and language."""
    make_clip(tmp_path / "a.mkv", audio=["aac", "ac3"], frames=30)
    info, _, packets = split(tmp_path / "a.mkv")
    assert [s.codec for s in info.audio] == ["aac", "ac3"]
    named = [
        AudioStream(**{f: getattr(s, f) for f in s.__slots__} | {"language": n})
        for s, n in zip(info.audio, ("eng", "fra"))
    ]
    with open_video(tmp_path / "a.mkv") as reader:
        fields = {f: getattr(reader.info, f) for f in VideoInfo.__slots__} | {"audio": tuple(named)}
        with create_video(tmp_path / "b.mp4", VideoInfo(**fields)) as writer:
            for item in reader:
                writer.write(item)
    assert [s.language for s in split(tmp_path / "b.mp4")[0].audio] == ["eng", "fra"]
    for stream in (0, 1):
        assert raw_packets(tmp_path / "b.mp4", stream) == [p.data for p in packets if p.stream == stream]


def test_sound_and_picture_are_interleaved_by_time(tmp_path):
    """Items come in file order, sound within a second of the picture."""
    make_clip(tmp_path / "a.mp4", audio="aac", frames=75)
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    with open_video(tmp_path / "b.mp4") as reader:
        now = Fraction(0)
        for item in reader:
            if isinstance(item, Frame):
                now = item.pts * reader.info.time_base
            else:
                assert abs(item.pts * reader.info.audio[0].time_base - now) < 1.5


def test_aac_of_a_transport_stream_gets_its_set_up(tmp_path):
    """ADTS headers become extradata, so that mp4 and mkv take the packets, and the samples are the same."""
    make_clip(tmp_path / "a.ts", audio="aac", frames=30)
    info, _, packets = split(tmp_path / "a.ts")
    assert info.audio[0].extradata == b"\x11\x90"
    assert all(one[7:] == p.data for one, p in zip(raw_packets(tmp_path / "a.ts"), packets, strict=True))
    for suffix in ("mp4", "mkv"):
        writer = copy(tmp_path / "a.ts", tmp_path / f"b.{suffix}")
        assert writer.notes == []
        old, new = samples(tmp_path / "a.ts"), samples(tmp_path / f"b.{suffix}")
        assert np.array_equal(old[-4096:], new[-4096:])


def test_sound_that_does_not_fit_is_left_out_and_said(tmp_path):
    """A codec that the container cannot carry, and targets without sound, give a note and no crash."""
    make_clip(tmp_path / "a.mkv", audio="flac", frames=10)
    writer = copy(tmp_path / "a.mkv", tmp_path / "a.mov")
    assert len(writer.notes) == 1 and "flac does not fit into .mov" in writer.notes[0]
    assert split(tmp_path / "a.mov")[0].audio == ()
    for name in ("a.y4m", "a.npy", "folder"):
        assert any("no sound" in note for note in copy(tmp_path / "a.mkv", tmp_path / name).notes)
    unknown = AudioStream(0, "no_such_codec", Fraction(1, 48000))
    writer = create_video(tmp_path / "b.mp4", VideoInfo(16, 16, audio=(unknown,)))
    assert "no_such_codec" in writer.notes[0]
    writer.abort()


def test_a_codec_without_an_encoder_is_still_carried(tmp_path):
    """Copying needs no encoder: dts, which FFmpeg here only decodes, goes into mkv and mp4."""
    stream = AudioStream(0, "dts", Fraction(1, 48000), sample_rate=48000, layout="stereo")
    for suffix in ("mkv", "mp4"):
        writer = create_video(tmp_path / f"a.{suffix}", VideoInfo(16, 16, audio=(stream,)))
        assert writer.notes == []
        writer.abort()


def test_a_span_trims_sound_like_picture(tmp_path):
    """Of a span, the packets that sound in it are kept, at the time they have beside the picture."""
    make_clip(tmp_path / "a.mp4", audio="aac", frames=75)
    whole, _, packets = split(tmp_path / "a.mp4")
    base = whole.audio[0].time_base
    for start, duration in ((0.52, 1.0), (1.0, None), (2.0, 0.2)):
        _, part, sound = split(tmp_path / "a.mp4", start=start, duration=duration)
        end = start + (duration or 99)
        wanted = [p for p in packets if (p.pts + p.duration) * base > start and p.pts * base < end]
        assert [p.data for p in sound] == [p.data for p in wanted]
        assert sound[0].pts * base == wanted[0].pts * base - Fraction(str(start))
        assert part[0].pts == 0


def test_sound_can_be_left_out(tmp_path):
    """audio=False gives frames alone."""
    make_clip(tmp_path / "a.mp4", audio="aac")
    info, frames, packets = split(tmp_path / "a.mp4", audio=False)
    assert (info.audio, packets, len(frames)) == ((), [], 10)
