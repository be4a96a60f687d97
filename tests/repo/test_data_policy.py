"""A test that needs a data set is skipped where the archive is missing, and fails there under CI."""

from pathlib import Path

import pytest

from tests.conftest import pytest_runtest_setup


@pytest.fixture
def item(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Item:
    """The running test, marked as one that needs MNIST, with an empty data folder."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    request.node.add_marker(pytest.mark.needs_data("mnist"))
    return request.node


def test_skips_on_a_readers_machine(item: pytest.Item, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="mnist not found"):
        pytest_runtest_setup(item)


def test_fails_under_ci(item: pytest.Item, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="mnist not found"):
        pytest_runtest_setup(item)


def test_runs_where_the_archive_is(item: pytest.Item, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    (tmp_path / "mnist.npz").touch()
    pytest_runtest_setup(item)
