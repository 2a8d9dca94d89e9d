"""The front door: `create_model`, `from_pretrained`, `list_models` and `Model`, without Detectron2 and without YAML."""
