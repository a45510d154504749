import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads are an identity field: a test that wants another number says so. Two spinning on busy cores are slow."""
    torch.set_num_threads(1)
