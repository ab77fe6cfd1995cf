"""URLs among paths: told apart, put together again, and never with secrets."""

from pathlib import Path

import pytest

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.url import refuse_url, url
from pneumo.runtime.errors import UserError


@pytest.mark.parametrize(
    "given", ["s3://bucket/siim", "s3://bucket", "gs://b/a b/\udcff", "file:///data/siim", "sftp://user@host/siim"]
)
def test_a_url_survives_being_a_path(given: str) -> None:
    assert url(Path(given)) == given
    assert url(Path(given + "/")) == given


@pytest.mark.parametrize("given", ["/data/siim", "siim", "../x:/y", "C:/data", "s3:bucket", "a/s3://b", ".", "s3:"])
def test_a_path_is_no_url(given: str) -> None:
    assert url(Path(given)) == ""


def test_a_url_is_refused_where_only_paths_are_taken() -> None:
    with pytest.raises(UserError, match=r"^gs://b/x is a URL; expected images on a file system of this machine; copy"):
        refuse_url(Path("gs://b/x"), "images")
    refuse_url(Path("b/x"), "images")


def test_a_directory_that_looks_like_a_url_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert url(Path("s3://bucket")) == ""


@pytest.mark.parametrize(
    "given",
    [
        "s3://key:hidden@bucket/siim",
        "s3://key:hid/hidden@bucket/siim",
        "https://host/siim?X-Signature=hidden",
        "https://key:a#hidden@host/siim",
        "https://hidden@host/siim",
        "az://c/siim;sig=hidden",
        "zip://a::https://user:hidden@host/x.zip",
        "simplecache::s3://user:hidden@bucket/siim",
    ],
)
def test_a_url_with_a_secret_is_refused_without_showing_it(given: str) -> None:
    with pytest.raises(UserError) as raised:
        url(Path(given))
    assert "hidden" not in str(raised.value)
    assert "AWS_SECRET_ACCESS_KEY" in str(raised.value)


def test_a_slip_in_a_url_is_no_crash() -> None:
    assert url(Path("s3://[x/y")) == "s3://[x/y"


def test_a_command_that_needs_a_directory_says_so() -> None:
    with pytest.raises(UserError, match=r"s3://bucket/siim is a URL; .*job/train\.py and job/ensemble\.py"):
        Manifest.read(Path("s3://bucket/siim"))
