"""Losses between a student's layer and a teacher's, one a file of its name: pure functions of the layers' outputs.

Features are ``maps``, (N, C, H, W), or ``vectors``, (N, D). Each loss is 0 for equal features, lower is better, and the
teacher's features get no gradient. Where maps have different sizes, both are averaged down to the smaller height and
width (adaptive average pooling). Which layers, and the projection between widths, are in
:mod:`kdviz.distill.objectives.layers`.
"""
