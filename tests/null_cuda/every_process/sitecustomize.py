"""What each Python process of a program needs on the null device; Python imports it at its start.

A program that starts others (gpu_proof.py, torchrun) cannot prepare them itself, so `null_device.py` puts this folder
on their PYTHONPATH. Programs of tests/null_cuda prepare themselves.
"""

import torch

import null_gpu

# PyTorch compiles this one function while it runs, for which there is no compiler on the device.
torch.Tensor.erfinv_ = lambda self: self
# Never left: the host reads these values for as long as the process lives. Numbers of tokens are below 64 in an image.
null_gpu.Values(nonzero=4, integers=3).__enter__()
