"""Regions that people drew on pictures: masks, and annotations in the usual forms of file."""

from kdviz.data.regions.reading import read_regions
from kdviz.data.regions.regions import FileSizes, Regions

__all__ = ["FileSizes", "Regions", "read_regions"]
