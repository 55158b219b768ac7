"""What each format needs, said before anything is done."""

import sys

import pytest
from conftest import text_of

from headstart.base.errors import MissingPackage, SettingsError
from headstart.export import catalogue


def test_a_precision_that_a_format_lacks_is_said() -> None:
    assert text_of(SettingsError, lambda: catalogue.check([catalogue.find("keras")], "f16")) == (
        "keras cannot be written in f16.\nAsk for it in f32; openvino, onnx, litert have f16."
    )


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "ai_edge_litert", "nncf"):
        monkeypatch.setitem(sys.modules, name, None)
    chosen = [catalogue.find(name) for name in ("openvino", "onnx", "litert")]
    assert text_of(MissingPackage, lambda: catalogue.check(chosen, "f32")) == (
        "onnxruntime, ai_edge_litert are not installed, which onnx and litert need.\n"
        "Run `pip install 'headstart[export]'`."
    )
    assert text_of(MissingPackage, lambda: catalogue.check(chosen[:1], "int8")) == (
        "nncf is not installed, which openvino needs.\nRun `pip install 'headstart[int8]'`."
    )
