"""The size of an image, from its first bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages.image_size import image_size
from tests.support.images import gif_bytes, jpeg_bytes, png_bytes, webp_bytes


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (12_000, 9), (16_000, 16_000)])
def test_every_format(size):
    assert image_size(png_bytes(*size)) == size
    assert image_size(gif_bytes(*size)) == size
    assert image_size(jpeg_bytes(*size)) == size
    for kind in ("VP8 ", "VP8L", "VP8X"):
        assert image_size(webp_bytes(kind, *size)) == size


def test_a_jpeg_with_much_before_its_size():
    assert image_size(jpeg_bytes(4000, 3000, before=150_000)) == (4000, 3000)
    assert image_size(jpeg_bytes(4000, 3000, before=150_000)[:100_000]) is None


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"\x89PNG", png_bytes(0, 5), gif_bytes(3, 0), b"\xff\xd8\x00\x00" * 9]
)
def test_what_has_no_size(data):
    assert image_size(data) is None


@given(
    st.sampled_from([b"\xff\xd8", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8L", b"RIFF1234WEBPVP8X"]),
    st.binary(),
)
def test_any_bytes_have_a_size_or_none(start, rest):
    size = image_size(start + rest)
    assert size is None or min(size) > 0
