"""Models of the papers, as code: ``plan examples.mlperf_tiny:resnet8 --budget 256KB``.

Weights are random but seeded, and batch norm has statistics that are not those of a fresh
module, so that signals and gradients have the size of a trained network's.
"""
