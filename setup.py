"""The `segvit` package: SegViT as a Detectron2 project. Detectron2 itself: `scripts/install_detectron2.py`."""

from pathlib import Path

from setuptools import find_packages, setup

PROJECT = "projects/SegViT"

# What Detectron2 imports, which is installed without its own pins, and what training and datasets need.
DETECTRON2_REQUIREMENTS = [
    "cloudpickle>=2.0",
    "fvcore>=0.1.5.post20221221",
    "iopath>=0.1.9",
    "matplotlib>=3.7",
    "omegaconf>=2.3",
    "opencv-python-headless>=4.8",
    "packaging>=23.0",
    "pycocotools>=2.0.7",
    "scipy>=1.11",
    "setuptools<81",  # detectron2.model_zoo imports pkg_resources, which later releases dropped
    "tabulate>=0.9",
    "tensorboard>=2.13",
    "termcolor>=2.3",
    "tqdm>=4.65",
]

setup(
    name="segvit",
    version="0.1.0",
    description="SegViT semantic segmentation with plain Vision Transformers, as a Detectron2 project",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(PROJECT, include=["segvit", "segvit.*"]),
    package_dir={"": PROJECT},
    python_requires=">=3.10",
    # Prediction, model folders and training loops of one's own; `segvit[detectron2]` is the whole project.
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "timm>=1.0.28",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.30",
        "numpy>=1.26",
        "Pillow>=10.0",
        "PyYAML>=6.0",
        "tifffile>=2024.1.30",  # TIFFs of any number of channels
        "yacs>=0.1.8",
    ],
    extras_require={
        "detectron2": DETECTRON2_REQUIREMENTS,
        "examples": ["accelerate>=1.1", "lightning>=2.4", "transformers>=5.0"],
        "dev": [
            "pytest>=8.0",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.14",
            "mypy>=1.18",
            "selenium>=4.20",
            "nbclient>=0.10",
            "ipykernel>=6.29",
            "mlflow-skinny>=3.0",
        ],
        "augmentation": ["albumentations>=2.0,<3"],  # MIT; pipelines of one's own in YAML
        "huggingface": ["datasets>=3.0"],  # datasets of the Hugging Face hub, and in its formats
        "bench": ["transformers>=5.0"],  # the peers of benchmarks/benchmark.py
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.1"],
        "geo": ["rasterio>=1.3"],  # georeferenced and very large TIFFs, and compressions that tifffile lacks
        "tracking": ["mlflow-skinny>=3.0", "trackio>=0.20", "wandb>=0.20"],  # TRACKING.TO
        "openvino": ["openvino>=2025.0", "nncf>=2.15", "onnx>=1.16", "onnxscript>=0.1"],
        "demo": ["gradio>=6.31,<7"],  # the web page
    },
)
