"""What the images' packages go through; these tests need no engine."""

import importlib.util
import py_compile
from pathlib import Path

import pytest

import slim_packages


def make(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("VALUE = 1\n" if path.suffix == ".py" else "")


def test_what_is_unused_goes_and_the_rest_stays(tmp_path: Path) -> None:
    make(tmp_path, "numpy/__init__.py", "numpy/tests/test_a.py", "numpy/tests/tests/x.py", "numpy/a.pyx", "bin/f2py")
    make(tmp_path, "numpy.libs/libopenblas.so", "pyarrow/libarrow_substrait.so.1", "pyarrow/libarrow_flight.so.1")
    make(tmp_path, "function/app.py", "function/Dockerfile", "function/requirements.txt", "function/report.html")

    slim_packages.slim(tmp_path)

    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.suffix not in ("", ".pyc")}
    assert kept == {
        "numpy/__init__.py",
        "numpy.libs",
        "numpy.libs/libopenblas.so",
        "pyarrow/libarrow_substrait.so.1",
        "function/app.py",
        "function/report.html",
    }


def test_only_the_services_in_use_keep_their_data(tmp_path: Path) -> None:
    make(tmp_path, *(f"botocore/data/{name}" for name in ("endpoints.json", "s3/a/service-2.json.gz", "ec2/a/b.json")))
    make(tmp_path, "boto3/data/ec2/a/resources-1.json")

    slim_packages.slim(tmp_path, ["s3"])

    assert sorted(path.name for path in (tmp_path / "botocore/data").iterdir()) == ["endpoints.json", "s3"]
    assert list((tmp_path / "boto3/data").iterdir()) == []


def test_a_service_that_botocore_does_not_have_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "botocore/data/s3/a/service-2.json.gz")

    assert slim_packages.main([str(tmp_path), "--service", "s4"]) == 1
    assert "botocore has no data for s4" in capsys.readouterr().err


def test_bytecode_is_not_checked_against_the_times_of_its_source(tmp_path: Path) -> None:
    make(tmp_path, "package/module.py")
    source = tmp_path / "package/module.py"
    py_compile.compile(str(source))

    slim_packages.slim(tmp_path)

    flags = Path(importlib.util.cache_from_source(str(source))).read_bytes()[4:8]
    # PEP 552: bit 0 says that a hash follows, bit 1 that it is to be checked.
    assert int.from_bytes(flags, "little") == 0b01


def test_a_source_that_cannot_be_compiled_fails_the_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "package/module.py")
    (tmp_path / "package/broken.py").write_text("def (\n")

    assert slim_packages.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "broken.py" in error
    assert "module.py" not in error


def test_everyone_may_read_everything(tmp_path: Path) -> None:
    make(tmp_path, "package/module.py")
    (tmp_path / "package/module.py").chmod(0o600)
    (tmp_path / "package").chmod(0o700)

    slim_packages.slim(tmp_path)

    assert all(path.stat().st_mode & 0o004 for path in tmp_path.rglob("*"))


def test_a_directory_that_is_missing_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slim_packages.main([str(tmp_path / "none")]) == 2
    assert "none is not a directory" in capsys.readouterr().err
