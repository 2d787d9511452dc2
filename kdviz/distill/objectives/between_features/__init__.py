"""Losses between a student's layer and a teacher's, one a file of its name: pure functions of the layers' outputs.

Features are ``maps``, (N, C, H, W), ``vectors``, (N, D), or ``stages``, the maps of several layers. Lower is better,
and the teacher's features get no gradient; a loss without a module of its own is 0 for equal features. Where maps have
different sizes, both are averaged down to the smaller height and width (adaptive average pooling), unless a loss says
otherwise. Which layers is in :mod:`kdviz.distill.objectives.layers`; the projection between widths, and the modules of
losses that have one, in :mod:`kdviz.distill.objectives.features`.
"""
