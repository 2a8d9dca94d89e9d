"""The parts of `gpu_proof.py`."""
