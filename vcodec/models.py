"""Where codecs come from: bundled weights, a file, the user's model folder, or the coded file itself."""

from __future__ import annotations

import ctypes
import lzma
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vcodec import bitstream
from vcodec.errors import UnknownNameError, UsageError, WeightsError
from vcodec.starting import load_libraries, uncollected

if TYPE_CHECKING:
    from vcodec.codec import Codec

__all__ = ["codec_for_decoding", "codec_for_encoding", "device_named", "model_folder", "weights_data"]


_XZ = b"\xfd7zXZ\x00"  # how packed data begins
_PACKED_MOST, _PRESET = 2**25, 3  # bytes of a checkpoint that is packed; how hard


def model_folder() -> Path:
    """The user's model folder: $VCODEC_MODELS, else vcodec/models in $XDG_DATA_HOME or ~/.local/share.

    It holds checkpoints named by their hash, 64 hex digits and `.safetensors`.
    """
    if own := os.environ.get("VCODEC_MODELS"):
        return Path(own).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "vcodec" / "models"


def codec_for_encoding(
    name: str, weights: str | Path | None, device: str = "auto", threads: int | None = None
) -> Codec:
    """The codec to encode with: the checkpoint `weights` if given, which may be of any codec; else by name.

    Raises UnknownNameError, WeightsError; UsageError for a `device` that this machine lacks.
    """
    _use_threads(threads)
    return _load(name if weights is None else Path(weights), device)


def codec_for_decoding(
    reader: bitstream.Reader,
    weights: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Codec:
    """The codec that a file was made with, found by the hash in its header.

    Looks at `weights` alone if given; else into the file, at the bundled weights, and in the model folder.
    Raises WeightsError, naming what is needed and where it looked; DamagedError for damaged embedded weights.
    """
    header = reader.header
    _use_threads(threads)
    needed = header.weights_sha256
    looked: list[str] = []

    def fits(place: str, load: Callable[[], Codec]) -> Codec | None:
        try:
            codec = load()
        except (UnknownNameError, WeightsError) as error:
            looked.append(f"{place} ({error})")
            return None
        if codec.weights_sha256 == needed:
            return codec
        looked.append(f"{place} (has {codec.weights_sha256.hex()[:12]}, {codec.name})")
        return None

    kept = model_folder() / f"{needed.hex()}.safetensors"
    found: Codec | None = None
    if weights is not None:
        found = fits(str(weights), lambda: _load(Path(weights), device))
    else:
        if embedded := reader.weights():
            found = fits("the weights in the file", lambda: _load_data(embedded, device))
        if found is None:
            found = fits("the bundled weights", lambda: _load(header.codec, device))
        if found is None:
            if kept.is_file():
                found = fits(str(kept), lambda: _load(kept, device))
            else:
                looked.append(f"{kept} (no such file)")
    if found is None:
        raise WeightsError(
            f"{reader.name} was made with codec {header.codec!r} and weights {needed.hex()[:12]}, which are "
            f"not here; looked at {'; '.join(looked)}. Name the checkpoint with --weights FILE, or put it "
            f"into the model folder as {kept.name}"
        )
    return found


def weights_data(codec: Codec) -> bytes:
    """The checkpoint of a codec as bytes, for embedding: packed (xz), unless it is so large that this takes long."""
    from vcodec.checkpoint import save_codec

    with tempfile.TemporaryDirectory(prefix="vcodec-") as folder:
        path = Path(folder) / "codec.safetensors"
        save_codec(codec, path)
        data = path.read_bytes()
    return lzma.compress(data, preset=_PRESET) if len(data) <= _PACKED_MOST else data


def _load(name_or_path: str | Path, device: str) -> Codec:
    if isinstance(name_or_path, Path) and not name_or_path.is_file():
        raise WeightsError(f"{name_or_path}: no such weights file")
    with uncollected():
        from vcodec.checkpoint import load_codec

        return load_codec(name_or_path, device=device_named(device))


def _load_data(data: bytes, device: str) -> Codec:
    with tempfile.TemporaryDirectory(prefix="vcodec-") as folder:
        path = Path(folder) / "codec.safetensors"
        path.write_bytes(_unpacked(data) if data.startswith(_XZ) else data)
        return _load(path, device)


def _unpacked(data: bytes) -> bytes:
    """A packed checkpoint; raises WeightsError where it is damaged, or larger than any that is packed."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        out = unpacker.decompress(data, _PACKED_MOST + 1)
    except lzma.LZMAError as error:
        raise WeightsError(f"embedded weights cannot be unpacked ({error})") from error
    if not unpacker.eof or len(out) > _PACKED_MOST:
        raise WeightsError(f"embedded weights do not end, or unpack to more than {_PACKED_MOST} bytes")
    return out


def _use_threads(threads: int | None) -> None:
    _keep_freed_memory()
    load_libraries()
    import torch

    if threads is None:
        # The codec's operations are short: reading, parsing, networks and writing run beside each other in threads of
        # their own, and a second thread inside an operation costs more than it brings.
        torch.set_num_threads(1)
        return
    if not 1 <= threads <= 1024:
        raise UsageError(f"{threads} threads are not possible: choose 1 or more")
    torch.set_num_threads(threads)


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks of up to 32 MB instead of giving each back: a third of encoding was page faults."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    mallopt(arena_max, 2)  # short-lived threads would each keep blocks of their own
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 512 << 20)


def device_named(name: str) -> str:
    """A device as torch names it; "auto" is CUDA where there is any. Raises UsageError for one this machine lacks."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}: choose auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device that torch can use; choose --device cpu")
    return name
