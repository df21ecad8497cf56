"""The public names: importing is cheap, every one is documented, and every example in a docstring runs."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
import warnings

import pytest

import jepa_scale

PACKAGES = ("jepa_scale.api", "jepa_scale.metrics", "jepa_scale.callbacks", "jepa_scale.testing")


def modules():
    """The modules that define public names."""
    yield jepa_scale
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield package
        for item in pkgutil.iter_modules(package.__path__):
            yield importlib.import_module(f"{name}.{item.name}")


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        yield from (pytest.param(test, id=test.name) for test in finder.find(module) if test.examples)


@pytest.mark.parametrize("test", list(examples()))
def test_the_examples_of_docstrings_run(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "displayhook", sys.__displayhook__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert found.failed == 0


def public():
    for package in (jepa_scale, *map(importlib.import_module, PACKAGES[1:])):
        for name in package.__all__:
            yield pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")


@pytest.mark.parametrize("value", list(public()))
def test_every_public_name_is_documented_with_an_example(value):
    assert inspect.getdoc(value)
    if not inspect.ismodule(value):
        assert ">>> " in inspect.getdoc(value)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'jepa_scale' has no attribute 'nothing'"):
        _ = jepa_scale.nothing
    assert set(jepa_scale.__all__) <= set(dir(jepa_scale))


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "numpy", "lightning", "optuna")
    code = f"import sys, jepa_scale; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_types_of_the_package_are_declared():
    from importlib.resources import files

    assert files("jepa_scale").joinpath("py.typed").is_file()
