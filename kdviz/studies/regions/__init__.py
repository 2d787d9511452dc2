"""Whether models look at regions that people drew, such as lesions: maps of many pictures, and what lies inside."""

from kdviz.studies.regions.pictures import RegionPictures, choose_pictures
from kdviz.studies.regions.report import RegionsReport, read_regions_report
from kdviz.studies.regions.samples import StudiedRegion, read_region
from kdviz.studies.regions.shares import RegionShares, read_region_shares
from kdviz.studies.regions.study import RegionsStudy, region_models

__all__ = [
    "RegionPictures",
    "RegionShares",
    "RegionsReport",
    "RegionsStudy",
    "StudiedRegion",
    "choose_pictures",
    "read_region",
    "read_region_shares",
    "read_regions_report",
    "region_models",
]
