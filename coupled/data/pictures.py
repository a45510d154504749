"""A split whose images are decoded each time they are asked for, wherever their files' bytes come from."""

from abc import abstractmethod

import torch
from torch import Tensor

from coupled import views
from coupled.data.decode import evaluation_view
from coupled.data.splits import FileSplit
from coupled.errors import RunStopped
from coupled.views import Recipe


class Pictures(FileSplit):
    """What image folders and tables of images share: the views of one image after another."""

    _name: str  # of the data set

    @abstractmethod
    def _picture(self, index: int) -> Tensor:
        """The image of id `index`, uint8 (3, H, W) of its own size; RunStopped where it is damaged."""

    def crops(self, ids: Tensor, words: Tensor, recipe: Recipe, size: int) -> Tensor:
        crops = torch.empty(2, len(ids), 3, size, size)
        for row, index in enumerate(ids.tolist()):
            crops[:, row] = views.crop(self._image(index)[None], words[:, row : row + 1], recipe, size)
        return crops.flatten(0, 1)

    def plain(self, ids: Tensor, size: int) -> Tensor:
        images = torch.empty(len(ids), 3, size, size)
        for row, index in enumerate(ids.tolist()):
            images[row] = evaluation_view(self._image(index), size)
        return images

    def _image(self, index: int) -> Tensor:
        try:
            return self._picture(index)
        except RunStopped as error:
            raise RunStopped(f"{self._name}: {error}") from error
