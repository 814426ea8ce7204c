"""Video in and out, through FFmpeg (PyAV) and NumPy: frames of 8-bit planes and copied audio packets."""

from vcodec.media.creating import create_video
from vcodec.media.frame import AudioPacket, AudioStream, Frame, Plane, RawFormat, VideoInfo
from vcodec.media.opening import open_video, probe
from vcodec.media.pixels import RgbConverter, to_rgb
from vcodec.media.reader import VideoReader
from vcodec.media.volumes import VolumeReader, VolumeWriter, create_volume, open_volume
from vcodec.media.writer import VideoWriter

__all__ = [
    "AudioPacket",
    "AudioStream",
    "Frame",
    "Plane",
    "RawFormat",
    "RgbConverter",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "VolumeReader",
    "VolumeWriter",
    "create_video",
    "create_volume",
    "open_video",
    "open_volume",
    "probe",
    "to_rgb",
]
