# SegViT in a container, with a CPU build of torch by default:
#   docker build -t segvit .
#   docker run --rm -v /path/to/folder:/data -v $PWD/output:/segvit/output segvit projects/SegViT/tools/check_dataset.py /data
# With CUDA (needs the NVIDIA container toolkit, and `--gpus all --shm-size 8g` after `docker run`):
#   docker build -t segvit:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .
FROM python:3.11-slim

# Where torch comes from: the index of CPU builds, or the package index, whose builds include CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update && apt-get install --yes --no-install-recommends git g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /segvit
COPY . .
RUN python -m pip install --no-cache-dir "setuptools<81" wheel
RUN python -m pip install --no-cache-dir torch==2.11.0 torchvision==0.26.0 --index-url $TORCH_INDEX
RUN python -m pip install --no-cache-dir --no-build-isolation --editable ".[detectron2,export,openvino,demo,geo,examples,augmentation,huggingface]"
RUN python scripts/install_detectron2.py

ENTRYPOINT ["python"]
CMD ["-c", "import torch, detectron2, segvit; print(torch.__version__, segvit.__version__, torch.cuda.is_available())"]
