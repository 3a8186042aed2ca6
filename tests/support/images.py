"""The first bytes of images of a given size, which is all that is read of them."""

from __future__ import annotations

from base64 import b64encode


def png_bytes(width: int, height: int) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + size + b"\x08\x02\x00\x00\x00"


def gif_bytes(width: int, height: int) -> bytes:
    return b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\x00\x00\x00"


def jpeg_bytes(width: int, height: int, before: int = 0) -> bytes:
    """`before`: the length of the metadata before the size."""
    segments = b""
    while before > 0:
        part = min(before, 65_000)
        segments += b"\xff\xe2" + (part + 2).to_bytes(2, "big") + b"\xc0" * part
        before -= part
    frame = b"\xff\xc2\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8\xff\xc4\x00\x04\x00\x00" + segments + b"\xff" + frame + b"\x03" + b"\x00" * 9


def webp_bytes(kind: str, width: int, height: int) -> bytes:
    match kind:
        case "VP8 ":
            chunk = (
                b"\x00" * 4 + b"\x00\x00\x00\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little")
            )
        case "VP8L":
            chunk = b"\x00" * 4 + b"\x2f" + (width - 1 | (height - 1) << 14).to_bytes(4, "little")
        case _:
            chunk = b"\x00" * 8 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x00\x00\x00WEBP" + kind.encode() + chunk


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def png(width: int, height: int) -> str:
    """Return a PNG's beginning as a data URL without padding, so that more can follow."""
    return data_url(png_bytes(width, height) + b"\x00")
