"""SegViT for Detectron2. Import it before torch, so that CPU threads wait without spinning."""

import logging
import os

# OpenMP reads the variable when torch is loaded. Threads that spin take the cores that the threads they wait for need:
# with another busy process on two cores, two threads trained the toy scenes at 1.7 iterations/s with PASSIVE, 0.2
# without.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The compiler of extensions, which Detectron2 and torch.compile import, warns on a CPU with an installed CUDA toolkit.
logging.getLogger("torch.utils.cpp_extension").addFilter(
    lambda record: not str(record.msg).startswith("No CUDA runtime is found")
)
