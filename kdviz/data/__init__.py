"""Data sets as tensors in memory: MNIST, the bundled digits, MHIST, and any folder of images.

Images are kept as one ``uint8`` tensor: indexing it is faster than any loader with workers. One that is larger than
``pictures.IN_MEMORY`` lies in a temporary file, of which the system keeps in memory what is used.
"""

from kdviz.data.folders import image_folder
from kdviz.data.mhist import MHIST_CLASSES, MHIST_IMAGES, mhist
from kdviz.data.mnist import BUNDLED, MNIST_CLASSES, bundled_digits, mnist
from kdviz.data.samples import LabelledImages, datasets

__all__ = [
    "BUNDLED",
    "MHIST_CLASSES",
    "MHIST_IMAGES",
    "MNIST_CLASSES",
    "LabelledImages",
    "bundled_digits",
    "datasets",
    "image_folder",
    "mhist",
    "mnist",
]
