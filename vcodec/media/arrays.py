"""Videos in NumPy files: .npy and .npz in, .npy out, one frame in memory at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vcodec.errors import MediaError
from vcodec.media.frame import AudioPacket, Frame, VideoInfo
from vcodec.media.output import OutputFile
from vcodec.media.pixels import PlaneReader, RgbConverter, Tags, plane_rows
from vcodec.media.reader import VideoReader, kept_range
from vcodec.media.writer import VideoWriter

__all__ = ["ArrayFile", "ArrayGrower", "ArrayReader", "ArrayWriter"]

_NAMES = ("video", "frames", "volume", "arr_0")


class ArrayFile:
    """An array in a .npy or .npz file, read item after item along its first axis. Raises MediaError.

    shape, dtype: of the whole array. Pickled objects are never loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._file: IO[bytes] | None = None
        try:
            self._file = self._open()
            self.shape, self.dtype = self._read_header(self._file)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            self.close()
            raise MediaError(f"{path}: not an array that NumPy can read ({error})") from error
        except MediaError:
            self.close()
            raise
        self._item_bytes = int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize

    def _open(self) -> IO[bytes]:
        if self.path.suffix.lower() != ".npz":
            return self.path.open("rb")
        self._zip = zipfile.ZipFile(self.path)
        names = [name.removesuffix(".npy") for name in self._zip.namelist()]
        chosen = names if len(names) == 1 else [name for name in _NAMES if name in names][:1]
        if not chosen:
            listed = ", ".join(names[:8]) or "none"
            raise MediaError(f"{self.path}: which array is the video? Name it 'video' (there are: {listed})")
        return self._zip.open(chosen[0] + ".npy")

    def _read_header(self, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject:
            raise MediaError(f"{self.path}: an array of Python objects is not read; save plain numbers")
        if fortran and len(shape) > 1:
            raise MediaError(f"{self.path}: it is in Fortran order; save it with numpy.ascontiguousarray")
        if not shape or 0 in shape:
            raise MediaError(f"{self.path}: the array {list(shape)} holds no frame")
        if self._zip is None:
            want = file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize
            have = self.path.stat().st_size
            if have < want:
                raise MediaError(f"{self.path}: it is cut off: {have} of {want} bytes are there")
        return shape, dtype

    def items(self, first: int = 0, end: int | None = None) -> Iterator[npt.NDArray[Any]]:
        """The items first..end-1 along the first axis, each of shape `shape[1:]`."""
        file = self._file
        if file is None:
            return
        try:
            file.seek(first * self._item_bytes, 1)
            for number in range(first, self.shape[0] if end is None else min(end, self.shape[0])):
                data = file.read(self._item_bytes)
                if len(data) < self._item_bytes:
                    raise MediaError(f"{self.path}: it is cut off in frame {number}")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])
        except (OSError, zipfile.BadZipFile, EOFError) as error:
            raise MediaError(f"{self.path}: it is damaged ({error})") from error

    def close(self) -> None:
        """Closes the file. May be called twice."""
        for part in (self._file, self._zip):
            if part is not None:
                part.close()
        self._file = self._zip = None


class ArrayReader(VideoReader):
    """A video in an array uint8 [T, H, W] (gray) or [T, H, W, 3] (RGB); `span`: (start, duration) in s."""

    def __init__(self, path: Path, pixel_format: str, span: tuple[float, float | None], fps: Fraction | None) -> None:
        super().__init__(str(path))
        self._array = ArrayFile(path)
        try:
            shape = self._array.shape
            self._source_format = self._check(shape)
            rate = fps or Fraction(25)
            self._first, end = kept_range(rate, span)
            self._end = min(shape[0], end if end is not None else shape[0])
            if self._first >= self._end:
                raise MediaError(f"{path}: it ends before the start asked for, {span[0]:g} s")
            first = self._picture(next(self._array.items(self._first)))
            self._planes = PlaneReader(str(path), first, pixel_format, Tags(0, 2))
            count = self._end - self._first
            self.info = VideoInfo(
                width=shape[2],
                height=shape[1],
                pixel_format=pixel_format,
                time_base=1 / rate,
                fps=rate,
                color_range=self._planes.tags.color_range,
                color_space=self._planes.tags.color_space,
                source_format=self._source_format,
                frames=count,
                duration_s=float(count / rate),
                notes=self._planes.notes,
            )
            self._array.close()
            self._array = ArrayFile(path)
        except BaseException:
            self._array.close()
            raise

    def _check(self, shape: tuple[int, ...]) -> str:
        if len(shape) == 5:
            raise MediaError(
                f"{self.name}: {list(shape)} is a volume [T, C, H, W, D]; code it with a volume codec (tcae)"
            )
        if self._array.dtype != np.uint8:
            raise MediaError(f"{self.name}: the array is {self._array.dtype}, and a video is uint8; scale it first")
        if len(shape) == 3 or (len(shape) == 4 and shape[3] == 1):
            return "gray"
        if len(shape) == 4 and shape[3] == 3:
            return "rgb24"
        raise MediaError(f"{self.name}: {list(shape)} is no video; it must be [T, H, W] or [T, H, W, 3]")

    def _picture(self, item: npt.NDArray[Any]) -> VideoFrame:
        height, width = item.shape[:2]
        picture = VideoFrame(width, height, self._source_format)
        flat = item.reshape(height, -1)
        plane_rows(picture, 0)[:, : flat.shape[1]] = flat
        return picture

    def _read(self) -> Iterator[Frame | AudioPacket]:
        for pts, item in enumerate(self._array.items(self._first, self._end)):
            yield Frame(self._planes.read(self._picture(item)), pts)

    def close(self) -> None:
        self._array.close()


class ArrayGrower:
    """A .npy file that grows along its first axis; `finish` completes its header. Raises OutputError."""

    def __init__(self, target: Path, shape: tuple[int, ...], dtype: npt.DTypeLike, *, overwrite: bool) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._output = OutputFile(target, overwrite=overwrite)
        self._output.file.write(self._header())

    def _header(self) -> bytes:
        """NumPy leaves room in the header for the first axis to grow, so that it keeps its size."""
        import io

        memory = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            memory,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.length, *self.shape),
            },
        )
        return memory.getvalue()

    def append(self, item: npt.NDArray[Any]) -> None:
        """Adds one item of the shape given at the start."""
        if item.shape != self.shape:
            raise MediaError(f"an item of shape {list(item.shape)} does not fit into an array of {list(self.shape)}")
        self._output.write(np.ascontiguousarray(item, self.dtype).data)
        self.length += 1

    def finish(self) -> None:
        """Writes the final header and puts the file under its name."""
        self._output.rewrite(0, self._header())
        self._output.commit()

    def discard(self) -> None:
        """Removes the file. May be called twice, and after `finish`."""
        self._output.discard()


class ArrayWriter(VideoWriter):
    """Writes .npy: uint8 RGB [T, H, W, 3], or [T, H, W] from gray frames, in full range."""

    def __init__(self, target: Path, info: VideoInfo, *, overwrite: bool) -> None:
        super().__init__(str(target), info)
        gray = info.pixel_format == "gray"
        self._convert = RgbConverter(info)
        self._gray = gray
        shape = (info.height, info.width) if gray else (info.height, info.width, 3)
        self._array = ArrayGrower(target, shape, np.uint8, overwrite=overwrite)
        self._note_losses(".npy", rate=False)

    def _write_frame(self, frame: Frame) -> None:
        self._array.append(self._convert.gray(frame) if self._gray else self._convert(frame))

    def _finish(self) -> None:
        self._array.finish()

    def _discard(self) -> None:
        self._array.discard()
