"""The facts of a machine that bits depend on."""

import importlib.metadata
from types import SimpleNamespace

import torch
from helpers import tables

import coupled
from coupled import gpu_libraries, runtime
from coupled.config import from_tables
from coupled.reading.environment import changes, environment, refused


def facts_of(monkeypatch, **given):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: given.get("cudnn", 91900))
    monkeypatch.setattr(gpu_libraries, "_cublas", lambda: given.get("cublas", "13.1.1"))
    monkeypatch.setattr(gpu_libraries, "_driver", lambda: given.get("driver", "580.159.04"))
    for name in ("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
        if name in given:
            monkeypatch.setenv(name, given[name])
    return environment({"machine": runtime.machine(torch.device("cuda"))})


def test_a_cpu_is_its_architecture_and_the_width_of_its_vectors():
    facts = runtime.machine(torch.device("cpu"))
    assert facts.keys() == {"architecture", "device", "capability"}


def test_another_library_driver_or_setting_of_the_environment_is_refused_on_a_gpu(monkeypatch):
    before = facts_of(monkeypatch, CUBLAS_WORKSPACE_CONFIG=":4096:8")
    assert before["machine.capability"] == "a card" and before["machine.cudnn"] == "91900"
    libraries = {"cudnn": 92400}, {"cublas": "13.2.0"}, {"driver": "590.1"}
    for given in (*libraries, {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}, {"NVIDIA_TF32_OVERRIDE": "1"}):
        now = facts_of(monkeypatch, **{"CUBLAS_WORKSPACE_CONFIG": ":4096:8", **given})
        (change,) = refused(changes(before, now))
        assert change.name == f"machine.{next(iter(given)).lower()}"
    assert not refused(changes(before, facts_of(monkeypatch, CUBLAS_WORKSPACE_CONFIG=":4096:8")))


def test_a_package_that_is_not_installed_is_of_an_unknown_version(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert coupled.__version__ == "unknown"


def test_what_a_gpu_would_round_to_fewer_bits_by_default_is_off():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_tf32 = cudnn.allow_tf32 = True
    runtime.configure(from_tables(tables()))
    assert not matmul.allow_bf16_reduced_precision_reduction
    assert not matmul.allow_tf32 and not cudnn.allow_tf32


def test_the_memory_of_a_device_is_that_of_a_gpu_that_is_here(monkeypatch):
    on_gpu = from_tables(tables(train={"device": "cuda"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.device_memory(on_gpu) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=device * 80))
    assert runtime.device_memory(on_gpu) == 80
    assert runtime.device_memory(from_tables(tables())) is None
