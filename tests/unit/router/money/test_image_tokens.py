"""The most tokens that images count as."""

import pytest

from router.money.image_tokens import BASE_TOKENS, MAX_IMAGE_TOKENS, bounded_prompt, tile_tokens
from tests.support.fakes import call
from tests.support.images import data_url, jpeg_bytes, png, png_bytes


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1, 1), 255),
        ((512, 512), 255),
        ((513, 512), 425),
        ((1024, 1024), 765),  # two examples of OpenAI's documentation
        ((2048, 4096), 1105),
        ((20_000, 20_000), 765),
        ((2048, 768), MAX_IMAGE_TOKENS),
        ((8000, 3000), MAX_IMAGE_TOKENS),
        (None, MAX_IMAGE_TOKENS),
    ],
)
def test_tiles(size, tokens):
    assert tile_tokens(size) == tokens
    assert tile_tokens(size, "low") == BASE_TOKENS


def test_no_size_counts_more_than_the_bound():
    sizes = [*range(1, 4000, 37), 767, 768, 769, 2047, 2048, 2049]
    assert max(tile_tokens((width, height)) for width in sizes for height in sizes) == MAX_IMAGE_TOKENS


def prompt(image, image_tokens=None):
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": image}]
    one = call(messages=[{"role": "user", "content": content}])
    url = image["url"] if isinstance(image, dict) else image
    return bounded_prompt(one, image_tokens) - (one.size - (len(url) if url.startswith("data:") else 0))


@pytest.mark.parametrize(
    ("image", "tokens"),
    [
        ({"url": png(512, 512)}, 255),
        ({"url": png(1024, 1024) + "A" * 2_000_000}, 765),
        ({"url": png(1024, 1024), "detail": "low"}, BASE_TOKENS),
        ({"url": data_url(jpeg_bytes(512, 512, before=100_000), "image/jpeg")}, 255),
        ({"url": data_url(jpeg_bytes(512, 512, before=400_000), "image/jpeg")}, MAX_IMAGE_TOKENS),
        (png(512, 512), 255),
        ({"url": "https://example.com/a.png"}, MAX_IMAGE_TOKENS),
        ({"url": "https://example.com/a.png", "detail": "low"}, BASE_TOKENS),
        ({"url": "data:image/png;base64,é"}, MAX_IMAGE_TOKENS),
        ({"url": "data:image/svg+xml,<svg/>"}, MAX_IMAGE_TOKENS),
        ({"url": "data:,"}, MAX_IMAGE_TOKENS),
    ],
)
def test_an_image_counts_by_its_size(image, tokens):
    assert prompt(image) == tokens
    assert prompt(image, 1234) == 1234, "what the price says holds for every size"


def test_parts_that_are_no_images_count_as_text():
    odd = [{"type": "image_url"}, {"type": "image_url", "image_url": {"url": 3}}]
    one = call(messages=[{"role": "user", "content": odd}, {"role": "user", "content": png_bytes(1, 1).hex()}])
    assert bounded_prompt(one, None) == one.size + 2 * MAX_IMAGE_TOKENS
