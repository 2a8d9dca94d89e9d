"""Exported files as models: ONNX and OpenVINO files with their classes and preprocessing, without Detectron2."""
