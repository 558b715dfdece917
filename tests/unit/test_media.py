"""A kind or content type not given is taken from the file's extension."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.errors import InputError
from uploader.media import content_type_of, kind_of, parse_content_type, parse_kind
from uploader.models import Kind


@pytest.mark.parametrize(
    ("name", "kind", "content_type"),
    [
        ("model.safetensors", "model", "application/octet-stream"),
        ("model.CKPT", "model", "application/octet-stream"),
        ("scene.glb", "3d", "model/gltf-binary"),
        ("scene.GLTF", "3d", "model/gltf+json"),
        ("scene.fbx", "3d", "application/octet-stream"),
        ("scene.obj", "3d", "model/obj"),
        ("scene.usdz", "3d", "model/vnd.usdz+zip"),
        ("a.png", "image", "image/png"),
        ("a.JPG", "image", "image/jpeg"),
        ("a.jpeg", "image", "image/jpeg"),
        ("a.webp", "image", "image/webp"),
        ("a.gif", "image", "image/gif"),
        ("a.mp3", "audio", "audio/mpeg"),
        ("a.wav", "audio", "audio/wav"),
        ("a.flac", "audio", "audio/flac"),
        ("a.mp4", "video", "video/mp4"),
        ("a.webm", "video", "video/webm"),
        ("a.txt", "text", "text/plain"),
        ("my.holiday.png", "image", "image/png"),
    ],
)
def test_the_extension_tells(name: str, kind: str, content_type: str) -> None:
    assert kind_of(name) == kind
    assert parse_kind(None, name) == kind
    assert content_type_of(name) == content_type


@pytest.mark.parametrize(
    "name", ["archive.zip", "data.json", "a.xyzzy", "noextension", ".hidden", "a.png.gz"]
)
def test_where_it_does_not_tell_the_kinds_to_choose_from_are_named(name: str) -> None:
    with pytest.raises(InputError) as caught:
        kind_of(name)
    for kind in Kind:
        assert kind in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["noextension", "a.xyzzy", ".hidden", "a.", "a.gz"])
def test_an_unknown_content_is_just_bytes(name: str) -> None:
    assert content_type_of(name) == "application/octet-stream"


@pytest.mark.parametrize("kind", list(Kind))
def test_what_the_caller_says_wins(kind: Kind) -> None:
    assert parse_kind(kind.value, "a.png") is kind


@pytest.mark.parametrize("kind", ["", "Image", "movie"])
def test_an_unknown_kind_is_refused_with_a_list(kind: str) -> None:
    with pytest.raises(InputError, match="3d, asset, audio, avatar, image, model, text, video"):
        parse_kind(kind, "a.png")


@pytest.mark.parametrize("value", ["image/png", "model/vnd.usdz+zip", "text/plain; charset=utf-8", "x/y;a=b"])
def test_a_content_type_the_caller_names_wins(value: str) -> None:
    assert parse_content_type(value, "a.glb") == value
    assert parse_content_type(None, "a.glb") == "model/gltf-binary"


@pytest.mark.parametrize(
    "value",
    ["", "image", "image/", "/png", "a/b/c", "image/png\r\nX-Evil: 1", "image/png\n", "image/p\u00f1g"],
)
def test_what_no_header_can_carry_is_no_content_type(value: str) -> None:
    with pytest.raises(InputError, match="no content type"):
        parse_content_type(value, "a.png")


@given(st.text(), st.text())
def test_any_name_has_a_content_type_and_a_kind_or_an_error(stem: str, extension: str) -> None:
    name = f"{stem}.{extension}"
    assert content_type_of(name).count("/") == 1
    with contextlib.suppress(InputError):
        assert kind_of(name) in Kind
