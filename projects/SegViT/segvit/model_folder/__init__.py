"""The model folder: config, weights, classes, metrics and card of a trained model. Reading needs no Detectron2."""
