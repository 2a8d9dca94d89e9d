"""Config keys of datasets, input, solver, evaluation and tracking; the checks of Detectron2's own keys."""

from __future__ import annotations

from segvit.config.checks import Key, ascending, at_least, between, fraction, one_of, positive, positive_numbers

DATA = (
    # A folder with images/, annotations/ and a file of class names. Its splits become the datasets "folder_train",
    # "folder_val" and so on, and give the number of classes if MODEL.SEM_SEG_HEAD.NUM_CLASSES is 0.
    Key("DATASETS.FOLDER", ""),
    # Of datasets "hf:PATH_OR_NAME:SPLIT": the columns of images and label maps; a folder with classes.txt, or an
    # id2label.json, where the dataset does not name its classes; and whether 0 means ignored, and ids begin at 1.
    Key("DATASETS.HF_COLUMNS", ["image", "annotation"]),
    Key("DATASETS.HF_CLASSES", ""),
    Key("DATASETS.HF_REDUCE_LABELS", False),
    Key("INPUT.DATASET_MAPPER_NAME", "segvit_semantic"),
    # [[dataset, factor], ...] for SAMPLER_TRAIN "WeightedTrainingSampler": how often images are drawn, 1.0 by default.
    # Detectron2 reads this key and the next one, and declares neither.
    Key("DATASETS.TRAIN_REPEAT_FACTOR", []),
    # Fraction of the images that SAMPLER_TRAIN "RandomSubsetTrainingSampler" trains on; SEED chooses them.
    Key("DATALOADER.RANDOM_SUBSET_RATIO", 1.0, fraction),
    # A training image is resized to fit MIN_SIZE_TRAIN x MAX_SIZE_TRAIN, both times a random ratio in this range.
    Key("INPUT.RESIZE_RATIO_RANGE", [0.5, 2.0], positive_numbers(2)),
    # Distribution of that ratio: "uniform" (the official recipe) or "log", which shrinks as many images as it enlarges.
    Key("INPUT.RESIZE_RATIO_SAMPLING", "uniform"),
    # Redraw a crop if one class fills more than this fraction of its labelled pixels; 1.0 accepts every crop.
    Key("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 0.75, between(0, 1)),
    # Probability that a crop contains a pixel of a class drawn from those of the image, each as likely as any other.
    Key("INPUT.CROP.CLASS_PROBABILITY", 0.0, between(0, 1)),
    # Read only the part of an image and its label map that becomes a crop, for TIFFs larger than memory. Images keep
    # their own resolution, times the ratio.
    Key("INPUT.CROP.FROM_FILE", False),
    # A pipeline of one's own, of Albumentations or torchvision.transforms.v2, applied to image and label map after all
    # other augmentations: "my_module:pipeline", a YAML file (whose text then takes its place), or YAML. "" for none.
    Key("INPUT.AUGMENTATION", ""),
    # In image files of more than 8 bits per sample, the level that becomes 255; 0: the largest that the bits can hold.
    Key("INPUT.MAX_LEVEL", 0, between(0, 2**31 - 1)),
    # Channels of the images, 1 to 16. Three are colours: one channel is repeated, and alpha is dropped.
    Key("INPUT.CHANNELS", 3, between(1, 16)),
    # Levels of the images as the model gets them. "8bit": MAX_LEVEL becomes 255; "raw": as they are stored, float32;
    # "percentile": for each image and channel, PERCENTILES become 0 and 255, float32.
    Key("INPUT.LEVELS", "8bit", one_of("8bit", "raw", "percentile")),
    Key("INPUT.PERCENTILES", [1.0, 99.0], ascending(0, 100)),
    # The channels that overlays and sheets show, three or one; by default the first three, or the first.
    Key("INPUT.SHOWN_CHANNELS", []),
    # Strength of the photometric distortion: 1.0 as in SSD and the official recipe, 0.0 for none.
    Key("INPUT.PHOTOMETRIC_STRENGTH", 1.0, between(0, 2)),
    # Changes of light, each in half of the images: the range of the exponent of the levels ([1.0, 1.0] for none); the
    # largest gain of a channel, less 1; and the largest standard deviation of a blur in pixels.
    Key("INPUT.GAMMA_RANGE", [1.0, 1.0], positive_numbers(2)),
    Key("INPUT.WHITE_BALANCE", 0.0, between(0, 4)),
    Key("INPUT.BLUR_SIGMA", 0.0, between(0, 100)),
)

SOLVER = (
    # A config that train_net.py trains first, in OUTPUT_DIR/first, if MODEL.WEIGHTS is empty: a file, or the name of a
    # shipped config. The training of this config begins with its final weights.
    Key("SOLVER.FIRST_CONFIG", ""),
    # Learning rate of everything but the encoder, as a multiple of BASE_LR.
    Key("SOLVER.DECODER_LR_MULTIPLIER", 10.0, at_least(0)),
    # Ratio of each block's learning rate to the next block's (BEiT, section 3); 1.0 as in the official recipe.
    Key("SOLVER.LAYER_DECAY", 1.0, positive),
    # Shell patterns of the names of parameters without weight decay.
    Key("SOLVER.NO_WEIGHT_DECAY", ["backbone.*norm*"]),
    # Detectron2's schedules, and "WarmupPolyLR": (1 - t) ** POLY_POWER from BASE_LR down to BASE_LR_END.
    Key(
        "SOLVER.LR_SCHEDULER_NAME",
        "WarmupPolyLR",
        one_of("WarmupPolyLR", "WarmupCosineLR", "WarmupMultiStepLR", "WarmupStepWithFixedGammaLR"),
    ),
    Key("SOLVER.POLY_POWER", 1.0),
    # "full_model" clips the norm of all gradients together; Detectron2's "value" and "norm" clip each parameter's.
    Key("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model", one_of("full_model", "norm", "value")),
    # Train with autocast; False trains in float32. The papers say nothing of their precision.
    Key("SOLVER.AMP.ENABLED", True),
    # Autocast type: "auto" (bfloat16 on GPUs that compute in it, else float32), "bfloat16", or "float16" with loss
    # scaling (CUDA).
    Key("SOLVER.AMP.PRECISION", "auto"),
    # On a GPU, compute the float32 products of a training step in TF32 (10 bits of mantissa) where it has it.
    Key("SOLVER.TF32", True),
    # Gradient accumulation: each process splits its images of a batch into this many parts. IMS_PER_BATCH stays the
    # size of the whole batch, and the gradient is that of the whole batch.
    Key("SOLVER.ACCUM_STEPS", 1),
    # Evaluate the exponential moving average (EMA) of the weights, and save it as the checkpoint's "model".
    Key("SOLVER.EMA.ENABLED", False),
    # Decay of the average per step after its warm-up: it covers about the last 1 / (1 - DECAY) steps.
    Key("SOLVER.EMA.DECAY", 0.9998),
    # After a NaN or infinite loss or gradient: "stop", as Detectron2 does, or "skip" the step.
    Key("SOLVER.NON_FINITE", "stop"),
)

TEST = (
    # Sliding window: segment overlapping windows of the (resized) image and average their scores.
    Key("TEST.WINDOW.ENABLED", False),
    # (H, W) in pixels of a window, usually the training crop, and of the step between windows.
    Key("TEST.WINDOW.SIZE", [512, 512], positive_numbers(2)),
    Key("TEST.WINDOW.STRIDE", [341, 341], positive_numbers(2)),
    # Windows of one image per forward pass.
    Key("TEST.WINDOW.BATCH_SIZE", 4),
    # Accumulate and return the scores in main memory: GPU memory then holds only the windows, whatever the image size.
    Key("TEST.WINDOW.ACCUMULATE_ON_CPU", False),
    # Autocast type of encoder and decoder in inference: "float32" for none, "bfloat16" or "float16" (CUDA). Scores are
    # computed in float32.
    Key("TEST.PRECISION", "float32", one_of("float32", "bfloat16", "float16")),
    # Temperature of the predictor's confidence; calibrate.py fits it. Labels and scores do not depend on it.
    Key("TEST.CONFIDENCE_TEMPERATURE", 1.0, positive),
    # Return "sem_seg_labels" (H, W) in place of "sem_seg" (K, H, W), which is never stored as a whole.
    Key("TEST.LABELS_ONLY", False),
    # Also report the IoU of each class's boundary pixels (Cheng et al. 2021).
    Key("TEST.BOUNDARY_IOU", False),
    # Write each prediction of an evaluation as two PNGs, class ids and colors, into OUTPUT_DIR.
    Key("TEST.SAVE_PREDICTIONS", False),
)

TRACKING = (
    # Log losses, metrics and config of a training to "wandb" (Weights & Biases), "mlflow" or "trackio"; "" for none.
    Key("TRACKING.TO", "", one_of("", "wandb", "mlflow", "trackio")),
    # The project (W&B, Trackio) or experiment (MLflow) of the run, and its name there, by default that of OUTPUT_DIR.
    Key("TRACKING.PROJECT", "segvit"),
    Key("TRACKING.NAME", ""),
)

TRAINING_KEYS = (*DATA, *SOLVER, *TEST, *TRACKING)

# Keys that Detectron2 declares and does not check. Their defaults are Detectron2's.
DETECTRON2_CHECKS = {
    "DATALOADER.NUM_WORKERS": at_least(0),
    "DATALOADER.SAMPLER_TRAIN": one_of(
        "TrainingSampler", "RandomSubsetTrainingSampler", "WeightedTrainingSampler", "RepeatFactorTrainingSampler"
    ),
    "DATALOADER.REPEAT_THRESHOLD": between(0, 1),
    "INPUT.CROP.SIZE": positive_numbers(2),
    "INPUT.CROP.TYPE": one_of("absolute", "absolute_range", "relative", "relative_range"),
    "INPUT.FORMAT": one_of("BGR", "RGB"),
    "INPUT.MAX_SIZE_TEST": at_least(1),
    "INPUT.MAX_SIZE_TRAIN": at_least(1),
    "INPUT.MIN_SIZE_TEST": at_least(0),
    "INPUT.MIN_SIZE_TRAIN": positive_numbers(),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.RANDOM_FLIP": one_of("horizontal", "vertical", "none"),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": at_least(0),
    "SOLVER.BASE_LR": positive,
    "SOLVER.BIAS_LR_FACTOR": at_least(0),
    "SOLVER.CHECKPOINT_PERIOD": at_least(1),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": positive,
    "SOLVER.MAX_ITER": at_least(1),
    "SOLVER.WARMUP_FACTOR": at_least(0),
    "SOLVER.WARMUP_ITERS": at_least(0),
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.WEIGHT_DECAY": at_least(0),
}
