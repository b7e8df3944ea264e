"""What the tests of conversion share: a way to save checkpoint files."""

import pytest
import torch


@pytest.fixture
def saved(tmp_path):
    """Saves the content of a checkpoint file."""

    def save(content, name="checkpoint.pth", **arguments):
        path = tmp_path / name
        torch.save(content, path, **arguments)
        return path

    return save
