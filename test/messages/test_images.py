"""Images of every encoding, against colours worked out by hand, and what is said of broken ones."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.images import ENCODINGS, decode_image, image_decoder

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def image(encoding, samples, padding=0, is_bigendian=0, **changes):
    """An Image message whose lines are the bytes of `samples[line]`, each followed by `padding`
    bytes of rubbish.
    """
    lines = [np.ascontiguousarray(line).tobytes() + b"\xaa" * padding for line in samples]
    height, width = samples.shape[:2]
    fields = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "step": len(lines[0]),
        "is_bigendian": is_bigendian,
        "data": b"".join(lines),
    }
    return SimpleNamespace(**{**fields, **changes})


def picture(height=4, width=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        ("rgb8", (0, 1, 2)),
        ("bgr8", (2, 1, 0)),
        ("8UC3", (2, 1, 0)),
        ("rgba8", (0, 1, 2, 0)),
        ("bgra8", (2, 1, 0, 0)),
    ],
)
def test_colours_come_out_red_green_blue(encoding, order, padding):
    rgb = picture()
    np.testing.assert_array_equal(decode_image(image(encoding, rgb[:, :, order], padding)), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_is_the_same_in_all_three(encoding):
    grey = picture()[:, :, 0]
    decoded = decode_image(image(encoding, grey, padding=3))
    np.testing.assert_array_equal(decoded, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
@pytest.mark.parametrize(("order", "is_bigendian"), [("<u2", 0), (">u2", 1)])
def test_sixteen_bits_keep_the_upper_eight_in_either_byte_order(encoding, order, is_bigendian):
    values = np.array([[0x0000, 0x01FF], [0x80AB, 0xFFFF]], np.uint16)
    decoded = decode_image(
        image(encoding, values.astype(order), padding=2, is_bigendian=is_bigendian)
    )
    np.testing.assert_array_equal(decoded[:, :, 1], [[0x00, 0x01], [0x80, 0xFF]])


@pytest.mark.parametrize("color", [RED, GREEN, BLUE])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("depth", "is_bigendian"), [("8", 0), ("16", 0), ("16", 1)])
def test_a_plain_colour_behind_a_bayer_filter_is_that_colour(pattern, color, depth, is_bigendian):
    mosaic = np.zeros((8, 8), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = color["rgb".index(letter)]
    samples = (
        mosaic
        if depth == "8"
        else (mosaic.astype(np.uint16) << 8).astype(">u2" if is_bigendian else "<u2")
    )
    decoded = decode_image(
        image(f"bayer_{pattern}{depth}", samples, padding=4, is_bigendian=is_bigendian)
    )
    np.testing.assert_array_equal(decoded, np.broadcast_to(np.uint8(color), (8, 8, 3)))


def yuv(color):
    """BT.601, limited range: the formula of the standard, not of the library under test."""
    r, g, b = (value / 255 for value in color)
    return (
        16 + 65.481 * r + 128.553 * g + 24.966 * b,
        128 - 37.797 * r - 74.203 * g + 112 * b,
        128 + 112 * r - 93.786 * g - 18.214 * b,
    )


@pytest.mark.parametrize("color", [RED, GREEN, BLUE, (90, 160, 30)])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        ("yuv422", "uyvy"),
        ("uyvy", "uyvy"),
        ("yuv422_yuy2", "yuyv"),
        ("yuyv", "yuyv"),
        ("nv12", "uv"),
        ("nv21", "vu"),
    ],
)
def test_a_plain_colour_comes_back_from_yuv(encoding, order, color):
    samples = {letter: round(value) for letter, value in zip("yuv", yuv(color), strict=True)}
    # a plane of brightness, then one of colour with half the lines
    if encoding in ("nv12", "nv21"):
        planes = np.full((6, 6), samples["y"], np.uint8)
        planes[4:, 0::2], planes[4:, 1::2] = samples[order[0]], samples[order[1]]
        message = image(encoding, planes, padding=2, height=4)
    else:
        line = np.array([samples[letter] for letter in order] * 3, np.uint8).reshape(6, 2)
        message = image(encoding, np.stack([line] * 4), padding=2)
    decoded = decode_image(message)
    assert decoded.shape == (4, 6, 3)
    np.testing.assert_allclose(decoded.astype(int), np.broadcast_to(color, (4, 6, 3)), atol=3)


def test_an_rgb_image_without_padding_is_not_copied():
    message = image("rgb8", picture())
    assert np.shares_memory(decode_image(message), np.frombuffer(message.data, np.uint8))


def compressed(extension, format_text, picture_bgr, *options):
    return SimpleNamespace(
        format=format_text, data=cv2.imencode(extension, picture_bgr, options)[1].tobytes()
    )


@pytest.mark.parametrize(
    "format_text", ["jpeg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8", ""]
)
def test_a_jpeg_is_red_green_blue_whatever_its_format_text(format_text):
    bgr = np.full((16, 16, 3), RED[::-1], np.uint8)
    decoded = decode_image(compressed(".jpg", format_text, bgr))
    np.testing.assert_allclose(decoded.astype(int), np.broadcast_to(RED, (16, 16, 3)), atol=4)


def test_a_jpeg_that_was_compressed_with_red_and_blue_swapped_is_swapped_back():
    swapped = np.full((16, 16, 3), RED, np.uint8)  # RGB handed to a library that takes BGR
    decoded = decode_image(compressed(".jpg", "rgb8; jpeg compressed rgb8", swapped))
    np.testing.assert_allclose(decoded.astype(int), np.broadcast_to(RED, (16, 16, 3)), atol=4)


def test_a_png_comes_back_exactly_also_from_grey_and_sixteen_bits():
    rgb = picture()
    np.testing.assert_array_equal(
        decode_image(compressed(".png", "bgr8; png compressed bgr8", rgb[:, :, ::-1])), rgb
    )
    grey = decode_image(
        compressed(".png", "mono16; png compressed", rgb[:, :, 0].astype(np.uint16) * 257)
    )
    np.testing.assert_array_equal(grey, np.stack([rgb[:, :, 0]] * 3, axis=2))


def test_zeros_after_the_end_of_a_jpeg_do_no_harm():
    message = compressed(".jpg", "jpeg", picture())
    message.data += bytes(37)
    assert decode_image(message).shape == (4, 6, 3)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("zeros", [1, 4095, 4096, 65_536, 65_537, 200_000])
def test_a_file_in_a_buffer_of_fixed_size_is_whole_and_a_cut_off_one_in_it_is_not(extension, zeros):
    rgb = picture(64, 64)
    message = compressed(extension, extension[1:], rgb[:, :, ::-1])
    whole = decode_image(message)
    file = message.data
    for behind in range(-2, 3):  # the end mark lies on both sides of where blocks begin
        message.data = file + bytes(max(zeros + behind, 0))
        np.testing.assert_array_equal(decode_image(message), whole)
    message.data = file[:-100] + bytes(zeros)
    with pytest.raises(MessageError, match="cut off"):
        decode_image(message)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(
    ("extension", "format_text"),
    [
        (".png", "bayer_{}8; png compressed "),
        (".png", "bayer_{}16; png compressed "),
        (".jpg", "bayer_{}8; jpeg compressed "),
    ],
)
def test_a_mosaic_that_was_compressed_as_it_was_has_its_colours(pattern, extension, format_text):
    mosaic = np.zeros((16, 16), np.uint8)
    for place, letter in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = RED["rgb".index(letter)]
    samples = mosaic.astype(np.uint16) << 8 if "16" in format_text else mosaic
    decoded = decode_image(
        compressed(extension, format_text.format(pattern), samples, cv2.IMWRITE_JPEG_QUALITY, 100)
    )
    np.testing.assert_allclose(decoded.astype(int), np.broadcast_to(RED, (16, 16, 3)), atol=4)


@pytest.mark.parametrize("target", ["bgr8", "mono8"])
def test_what_was_a_mosaic_before_it_was_compressed_is_none_any_more(target):
    bgr = np.full((16, 16, 3), RED[::-1], np.uint8)
    decoded = decode_image(compressed(".png", f"bayer_rggb8; png compressed {target}", bgr))
    np.testing.assert_array_equal(decoded, bgr[:, :, ::-1])


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_cut_off_file_is_an_error_not_half_an_image(extension):
    message = compressed(extension, extension[1:], picture(64, 64))
    message.data = message.data[:-100]
    with pytest.raises(MessageError, match="cut off"):
        decode_image(message)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (image("yuv444", picture()), "expected one of rgb8, bgr8.*got 'yuv444'"),
        (image("", picture()), "got ''"),
        (
            image("rgb8", picture(), step=17),
            "expected step of at least width \\* 3 = 18 bytes, got 17",
        ),
        (
            image("rgb8", picture(), data=bytes(71)),
            r"rgb8 6 x 4: expected 72 bytes \(4 lines of 18\), got 71; was it cut off",
        ),
        (image("rgb8", picture(), data=b""), "expected 72 bytes"),
        (image("rgb8", picture(), data=bytes(73)), "expected 72 bytes"),
        (
            image("rgb8", picture(), height=4_000_000_000, width=4_000_000_000, step=4_294_967_295),
            "expected step of at least",
        ),
        (image("rgb8", picture(), height=0), "expected at least one pixel, got 6 x 0"),
        (image("mono8", picture()[:, :, 0], width=0), "expected at least one pixel, got 0 x 4"),
        (image("uyvy", picture(4, 5)[:, :, :2]), "expected even sizes.*got 5 x 4"),
        (image("nv12", picture(3, 4)[:, :, 0]), "expected even sizes.*got 4 x 3"),
        (image("rgb8", picture(), data=[1, 2, 3]), "expected data as a buffer of bytes, got list"),
        (
            SimpleNamespace(format="webp", data=b"RIFF1234WEBP"),
            "expected the bytes of a jpeg, png or tiff, got format 'webp'",
        ),
        (
            SimpleNamespace(
                format="16UC1; compressedDepth png", data=bytes(12) + b"\x89PNG\r\n\x1a\n"
            ),
            "compressedDepth",
        ),
        (SimpleNamespace(format="jpeg", data=b""), "bytes none"),
        (
            SimpleNamespace(format="jpeg", data=b"\xff\xd8\xff" + bytes(20) + b"\xff\xd9"),
            "is it damaged",
        ),
    ],
)
def test_a_broken_image_is_an_error_that_says_what_was_expected(message, text):
    with pytest.raises(MessageError, match=text):
        decode_image(message)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from([*ENCODINGS, "rgb16", "bogus"]),
    height=st.integers(0, 5) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 5) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 24) | st.integers(0, 2**32 - 1),
    is_bigendian=st.sampled_from([0, 1, 255]),
    data=st.binary(max_size=120),
)
def test_whatever_an_image_message_holds_only_a_message_error_comes_out(
    encoding, height, width, step, is_bigendian, data
):
    message = SimpleNamespace(
        encoding=encoding,
        height=height,
        width=width,
        step=step,
        is_bigendian=is_bigendian,
        data=data,
    )
    try:
        decoded = decode_image(message)
    except MessageError:
        return
    assert decoded.shape == (height, width, 3) and decoded.dtype == np.uint8


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, 700),
    place=st.integers(0, 600),
    value=st.integers(0, 255),
    extension=st.sampled_from([".jpg", ".png"]),
    text=st.text(max_size=30),
)
def test_whatever_happens_to_a_compressed_image_only_a_message_error_comes_out(
    cut, place, value, extension, text
):
    data = bytearray(cv2.imencode(extension, picture(9, 9))[1].tobytes())
    data[place % len(data)] = value
    try:
        decoded = decode_image(SimpleNamespace(format=text, data=bytes(data[: len(data) - cut])))
    except MessageError:
        return
    assert decoded.ndim == 3 and decoded.shape[2] == 3 and decoded.dtype == np.uint8


@pytest.fixture
def cv_bridge_stand_in(monkeypatch):
    """A module like cv_bridge: `CvBridge().imgmsg_to_cv2(message, desired_encoding)`; tests
    change what it returns.
    """
    module = ModuleType("cv_bridge")
    module.asked = []

    class CvBridge:
        def imgmsg_to_cv2(self, message, desired_encoding="passthrough"):
            module.asked.append((message.encoding, desired_encoding))
            if module.fails:
                raise RuntimeError("numpy.core.multiarray failed to import")
            return decode_image(message)[:, :, :: module.step].copy()

    module.CvBridge, module.fails, module.step = CvBridge, False, 1
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    return module


def test_without_cv_bridge_ours_decodes(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # import raises ImportError
    assert image_decoder() == (decode_image, "own")


def test_a_working_cv_bridge_is_used_for_what_it_does_well_and_ours_for_the_rest(
    cv_bridge_stand_in,
):
    decode, who = image_decoder()
    assert who == "cv_bridge"
    cv_bridge_stand_in.asked.clear()
    rgb = picture()
    np.testing.assert_array_equal(decode(image("bgr8", rgb[:, :, ::-1])), rgb)
    np.testing.assert_array_equal(decode(compressed(".png", "png", rgb[:, :, ::-1])), rgb)
    assert decode(image("nv12", np.full((6, 6), 128, np.uint8), height=4)).shape == (4, 6, 3)
    np.testing.assert_array_equal(decode(image("rgb8", rgb, is_bigendian=1)), rgb)
    np.testing.assert_array_equal(decode(image("rgb8", rgb, padding=1)), rgb)
    assert cv_bridge_stand_in.asked == [("bgr8", "rgb8")]


@pytest.mark.parametrize("damage", [{"fails": True}, {"step": -1}])
def test_a_cv_bridge_that_fails_or_swaps_colours_is_not_used(cv_bridge_stand_in, damage):
    vars(cv_bridge_stand_in).update(damage)
    assert image_decoder() == (decode_image, "own")


def test_what_cv_bridge_raises_becomes_a_message_error(cv_bridge_stand_in):
    decode, _ = image_decoder()
    cv_bridge_stand_in.fails = True
    with pytest.raises(MessageError, match="image rgb8: cv_bridge: RuntimeError"):
        decode(image("rgb8", picture()))
    with pytest.raises(MessageError, match="was it cut off"):
        decode(image("rgb8", picture(), data=bytes(5)))
