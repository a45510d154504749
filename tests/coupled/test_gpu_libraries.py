"""Versions asked of libraries that may not be there."""

import ctypes

import pytest
import torch

from coupled import gpu_libraries

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (dvs@host)  Tue\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54  Tue Feb 27\nGCC version:  gcc 12.3.0\n"


class Library:
    """Stands for one that ctypes loads: its functions write these values, or fail with `code`."""

    def __init__(self, values, code=0):
        self._values, self._code = values, code

    def __getattr__(self, name):
        def function(*arguments):
            *part, value = arguments
            value._obj.value = self._values[part[0]] if part else self._values
            return self._code

        function.__name__ = name
        return function


@pytest.mark.parametrize(("text", "version"), [(OPEN, "580.159.04"), (CLOSED, "550.54")])
def test_the_driver_is_the_kernel_module(text, version, tmp_path, monkeypatch):
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(gpu_libraries, "_KERNEL_MODULE", tmp_path / "version")
    assert gpu_libraries._driver() == version


@pytest.mark.parametrize(
    ("library", "version"), [(Library(13020), "for CUDA 13.2"), (Library(13020, code=3), "unknown"), (None, "unknown")]
)
def test_a_driver_whose_module_is_hidden_is_asked_for_its_cuda(library, version, tmp_path, monkeypatch):
    def load(name):
        if library is None:
            raise OSError(name)
        return library

    monkeypatch.setattr(gpu_libraries, "_KERNEL_MODULE", tmp_path / "no such file")
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert gpu_libraries._driver() == version


def test_cublas_says_its_version_in_three_parts(monkeypatch):
    names = []
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: names.append(name) or Library([13, 1, 1]))
    assert gpu_libraries._cublas() == "13.1.1" and names == ["libcublas.so.13"]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library([13, 1, 1], code=1))
    assert gpu_libraries._cublas() == "unknown"
