"""Video files: H.264 in mp4, which every browser plays."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from hadamax.errors import UserError

Array = np.ndarray[Any, Any]

# Constant quality, 18 is nearly lossless; the index comes first, so that browsers start at once.
ENCODER = {"preset": "superfast", "crf": "22"}
CONTAINER = {"movflags": "+faststart"}


class Planes:
    """A picture in YUV 4:2:0, made of parts.

    Converting the game while it is small, and enlarging its planes, is what makes filming quick.
    """

    def __init__(self, height: int, width: int) -> None:
        if height % 2 or width % 2:
            raise ValueError(f"a video of {width}x{height}; both must be even")
        self.buffer = np.empty((height * 3 // 2, width), np.uint8)
        luma, *chroma = np.split(self.buffer.reshape(-1), [height * width, height * width * 5 // 4])
        self._luma = luma.reshape(height, width)
        self._chroma = [plane.reshape(height // 2, width // 2) for plane in chroma]

    def paste(self, left: int, luma: Array, *chroma: Array) -> None:
        """Put [height, width] planes at a column; colour keeps every second row and column."""
        self._luma[:, left : left + luma.shape[1]] = luma
        for plane, part in zip(self._chroma, chroma, strict=True):
            plane[:, left // 2 : (left + part.shape[1]) // 2] = part[::2, ::2]


class Mp4:
    """Writer of pictures, one at a time; the file is renamed into place when complete."""

    def __init__(self, path: Path, rate: int) -> None:
        """`rate`: pictures per second."""
        self.path, self.rate = path, rate
        self._temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
        self._planes: Planes | None = None
        self._side: Array | None = None
        # Kept, since creating one costs more than using it.
        self._converters: dict[tuple[int, ...], VideoReformatter] = {}

    def __enter__(self) -> Mp4:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._temporary), "w", format="mp4", container_options=CONTAINER)
        except OSError as error:
            raise self._unwritable(error) from None
        self._stream = self._container.add_stream("libx264", rate=self.rate, options=ENCODER)
        return self

    def add(self, picture: Array, pixel: tuple[int, int], side: Array) -> None:
        """Append an enlarged picture with another one to its right.

        Args:
            picture: [height, width, 3] uint8.
            pixel: rows and columns that a pixel of it fills.
            side: [height * rows, width, 3] uint8; an array that was given last time is not looked at again.
        """
        height, width = picture.shape[0] * pixel[0], picture.shape[1] * pixel[1]
        if self._planes is None:
            self._start(height, width + side.shape[1])
        planes = self._planes
        assert planes is not None
        if side is not self._side:
            self._side = side
            planes.paste(width, *self._convert(side))
        planes.paste(0, *(plane.repeat(pixel[0], 0).repeat(pixel[1], 1) for plane in self._convert(picture)))
        self._write(av.VideoFrame.from_ndarray(planes.buffer, format="yuv420p"))

    def _start(self, height: int, width: int) -> None:
        context = self._stream.codec_context
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context.thread_count = 0  # one per core
        # Without an explicit matrix and range, players guess wrong colours.
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._planes = Planes(height, width)

    def _convert(self, rgb: Array) -> Array:
        """[height, width, 3] RGB to [3, height, width] YUV."""
        converter = self._converters.setdefault(rgb.shape, VideoReformatter())
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        colours: dict[str, Any] = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
        planes: Array = converter.reformat(frame, format="yuv444p", **colours).to_ndarray()
        return planes

    def _write(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise self._unwritable(error) from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        whole = error is None and self._planes is not None
        try:
            if whole:
                self._write(None)  # flush the encoder
            self._container.close()
            if whole:
                self._temporary.replace(self.path)
        except OSError as failure:
            if whole:
                raise self._unwritable(failure) from None
        finally:
            self._temporary.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"video: {self.path} cannot be written: {error.strerror or error}")
