"""The model of a config: every class here reads its keys in `from_config` and passes plain arguments to `modeling/`.

Detectron2 is not imported; `segvit.d2` registers these classes with it.
"""
