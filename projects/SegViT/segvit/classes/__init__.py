"""Names and colours of classes: lists in files, and default colours. Imports neither torch nor Detectron2."""
