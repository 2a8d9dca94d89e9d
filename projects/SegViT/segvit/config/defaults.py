"""Every config key that SegViT adds to Detectron2's. Each is declared here once and read in one place;
those of the encoder by the backbone that MODEL.BACKBONE.NAME names."""

from __future__ import annotations

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg


def add_segvit_config(cfg: CN) -> None:
    """Add SegViT's keys and defaults to a Detectron2 config, in place.

    Detectron2's own keys are used wherever one exists: `MODEL.SEM_SEG_HEAD.{NUM_CLASSES, IGNORE_VALUE, IN_FEATURES}`,
    `MODEL.PIXEL_{MEAN,STD}`, `INPUT.*`, `SOLVER.*`, `TEST.*`.
    """
    cfg.MODEL.META_ARCHITECTURE = "SegViT"
    cfg.MODEL.BACKBONE.NAME = "PlainViT"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "AttentionToMaskHead"
    # The stages in the order in which the decoder visits them: deepest first (v1, section 3.2).
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block11", "block7", "block5"]
    _add_vit(cfg)
    _add_segvit(cfg)
    _add_datasets(cfg)
    _add_input(cfg)
    _add_solver(cfg)
    _add_test(cfg)


def get_segvit_cfg() -> CN:
    """Detectron2's default config with SegViT's keys added."""
    cfg = get_cfg()
    add_segvit_config(cfg)
    return cfg


def _add_vit(cfg: CN) -> None:
    cfg.MODEL.VIT = CN()
    # A timm model name; the architecture comes from timm.
    cfg.MODEL.VIT.NAME = "vit_base_patch16_384"
    # Pre-trained weights: "" for none, a timm tag such as "augreg_in21k_ft_in1k", or a local file that timm reads.
    # Not read where MODEL.WEIGHTS is set: a checkpoint of the whole model fills the encoder, too.
    cfg.MODEL.VIT.PRETRAINED = ""
    # The share of the encoder's tensors that those weights must provide; fewer stop the run, with the list.
    cfg.MODEL.VIT.PRETRAINED_MIN_MATCH = 0.95
    # (H, W) in pixels that the position embedding is built for: the training crop. Other sizes are interpolated.
    cfg.MODEL.VIT.IMG_SIZE = [512, 512]
    # 0-based indices of the blocks whose outputs become the stages "block<i>".
    cfg.MODEL.VIT.OUT_INDICES = [5, 7, 11]
    # Class and register tokens take part in the blocks, as in pre-training; the official SegViT drops them before.
    cfg.MODEL.VIT.KEEP_PREFIX_TOKENS = True
    # True applies the encoder's final norm to the last block's stage; the official SegViT reads the raw stream.
    cfg.MODEL.VIT.FINAL_NORM = False
    cfg.MODEL.VIT.DROP_PATH_RATE = 0.1
    # "none"; "shrunk": from REDUCTION_BLOCK (0-based) on, every second token of every second row (v1, section 3.4);
    # "shrunk++": those and the tokens on class boundaries (v2, section 3.4).
    cfg.MODEL.VIT.REDUCTION = "none"
    cfg.MODEL.VIT.REDUCTION_BLOCK = 8
    # How that block gets the tokens that "shrunk" keeps: "nearest_q" samples its queries (v1's choice); "nearest_qkv"
    # drops tokens before it; "conv_q" makes queries by a stride-2 convolution (the other two of v1's ablation).
    cfg.MODEL.VIT.REDUCTION_SAMPLING = "nearest_q"
    cfg.MODEL.VIT.EDGE = CN()
    # The edge head of Shrunk++ reads the tokens that enter this block: 0 for the embedded patches, as the paper does.
    cfg.MODEL.VIT.EDGE.BLOCK = 0
    # "threshold": tokens whose edge probability exceeds THRESHOLD stay, another number for every image (v2).
    # "topk": the share SHARE of all tokens stays, the coarse grid included: static shapes, for export and compilers.
    cfg.MODEL.VIT.EDGE.SELECTION = "threshold"
    cfg.MODEL.VIT.EDGE.THRESHOLD = 0.7
    cfg.MODEL.VIT.EDGE.SHARE = 0.36
    # Recompute blocks in the backward pass: less memory, about a third more time.
    cfg.MODEL.VIT.GRADIENT_CHECKPOINTING = False
    # Train the decoder alone: no gradients, no drop path and no statistics in the encoder.
    cfg.MODEL.VIT.FROZEN = False
    # "linear": timm's patch embedding. "conv": a convolutional stem, for training from scratch.
    cfg.MODEL.VIT.STEM = "linear"
    # False computes attention by plain matrix products: 3 x faster for bfloat16 training on a CPU, slower elsewhere.
    cfg.MODEL.VIT.FUSED_ATTENTION = True
    # Overrides of the named architecture, for small models trained from scratch; 0 keeps timm's value.
    cfg.MODEL.VIT.PATCH_SIZE = 0
    cfg.MODEL.VIT.EMBED_DIM = 0
    cfg.MODEL.VIT.DEPTH = 0
    cfg.MODEL.VIT.NUM_HEADS = 0
    # Standard deviation of the truncated-normal Linear init; 0 keeps timm's. Narrow models need about 1 / sqrt(width).
    cfg.MODEL.VIT.INIT_STD = 0.0


def _add_segvit(cfg: CN) -> None:
    cfg.MODEL.SEGVIT = CN()
    # Decoder width D, heads and layers per stage (v1, section 4.1: half the encoder's width, head size 32, 3 layers).
    cfg.MODEL.SEGVIT.HIDDEN_DIM = 384
    cfg.MODEL.SEGVIT.NUM_HEADS = 12
    cfg.MODEL.SEGVIT.NUM_LAYERS = 3
    # What restores the full grid behind a reduction: "none"; "learned", a query per cell of the crop (v1); "inherited",
    # queries from the tokens before the reduction (v2); "nearest", these with the nearest kept token added (ours).
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "none"
    # Layers of that up-sampling, per stage that it reads.
    cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = 3
    cfg.MODEL.SEGVIT.DROPOUT = 0.1
    cfg.MODEL.SEGVIT.INIT_STD = 0.02
    # "mix": every query votes for every class (v1); "diagonal": query c scores class c alone (v2, cheaper);
    # "softmax": masks are the class logits of each pixel, for LOSS "pixel".
    cfg.MODEL.SEGVIT.OUTPUT = "mix"
    # "mask": class, focal and dice loss (v1, section 3.3); "pixel": cross-entropy over the classes of each pixel, with
    # OUTPUT "softmax".
    cfg.MODEL.SEGVIT.LOSS = "mask"
    # Factor of the cross-entropy over classes, be it of queries or of pixels.
    cfg.MODEL.SEGVIT.CLASS_WEIGHT = 1.0
    cfg.MODEL.SEGVIT.FOCAL_WEIGHT = 20.0
    cfg.MODEL.SEGVIT.DICE_WEIGHT = 1.0
    # Weight of "no object" in the classification loss, for the queries whose class is absent from the image.
    cfg.MODEL.SEGVIT.NO_OBJECT_WEIGHT = 0.1
    # The official code counts ignored pixels as negatives of every mask; True gives them no loss instead.
    cfg.MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS = False
    # Factor of the edge head's loss, which trains that head alone, and in it the weight of edge patches against others.
    cfg.MODEL.SEGVIT.EDGE_WEIGHT = 1.0
    cfg.MODEL.SEGVIT.EDGE_CLASS_WEIGHT = 1.0
    # Mask and pixel losses are computed on every n-th pixel of the label map, in both directions.
    cfg.MODEL.SEGVIT.MASK_LOSS_STRIDE = 1
    _add_continual(cfg)


def _add_continual(cfg: CN) -> None:
    cfg.MODEL.SEGVIT.CONTINUAL = CN()
    # Groups of classes, learnt one after the other: sizes such as "100-50", the last of which repeats until all classes
    # are in a group; or the groups themselves, lists of ids or names, in GROUPS. Neither: all classes at once.
    cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL = ""
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS = []
    # The order, of ids or names, in which PROTOCOL counts; by default that of the ids.
    cfg.MODEL.SEGVIT.CONTINUAL.CLASS_ORDER = []
    # The model's class names by id, where they are not the training data's: labels are then matched by name, and other
    # names are background. "dataset:NAME" stands for all classes of that data set.
    cfg.MODEL.SEGVIT.CONTINUAL.CLASSES = []
    # The step that this model is at, from 0; -1 for the last.
    cfg.MODEL.SEGVIT.CONTINUAL.STEP = -1
    # Images of a step: "overlapped", all with a pixel of its classes; "disjoint", those without a later class, too.
    cfg.MODEL.SEGVIT.CONTINUAL.SELECTION = "overlapped"
    # Iterations of each step; by default SOLVER.MAX_ITER for all.
    cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS = []
    # The stages that later groups read, deepest first; by default those of the first group. The frozen encoder was not
    # trained for their classes: more of its blocks help.
    cfg.MODEL.SEGVIT.CONTINUAL.IN_FEATURES = []
    # MODEL.SEGVIT.QUERY_UPSAMPLING of later groups; by default that of the first. "inherited" lets their tokens attend
    # to each other, where a frozen encoder does not separate their classes.
    cfg.MODEL.SEGVIT.CONTINUAL.QUERY_UPSAMPLING = ""
    # Factor of a loss that lets a new group compete with the frozen older ones for each pixel of its own training data,
    # as all classes do in prediction; 0.0 for none, as in the paper.
    cfg.MODEL.SEGVIT.CONTINUAL.COMPETITION_WEIGHT = 0.0
    # "bias": behind its training, a new group's scores get the factor that tells its classes best from the background
    # of its own training data; older groups stay as they are.
    cfg.MODEL.SEGVIT.CONTINUAL.CALIBRATION = "none"


def _add_datasets(cfg: CN) -> None:
    # A folder with images/, annotations/ and a file of class names, whose splits become the data sets "folder_train",
    # "folder_val" and so on; the number of classes comes from there where MODEL.SEM_SEG_HEAD.NUM_CLASSES is 0.
    cfg.DATASETS.FOLDER = ""


def _add_input(cfg: CN) -> None:
    cfg.INPUT.DATASET_MAPPER_NAME = "segvit_semantic"
    # A training image is resized to fit MIN_SIZE_TRAIN[0] x MAX_SIZE_TRAIN, both times a ratio drawn from this range.
    cfg.INPUT.RESIZE_RATIO_RANGE = [0.5, 2.0]
    # "uniform" (the official recipe) or "log": as many images are shrunk as enlarged.
    cfg.INPUT.RESIZE_RATIO_SAMPLING = "uniform"
    # A crop is drawn again while one class fills more than this share of its labelled pixels; 1.0 takes any.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    # In image files of more than 8 bits per sample, the level that becomes 255; 0: the largest that the bits can hold.
    cfg.INPUT.MAX_LEVEL = 0
    # Strength of the photometric distortion: 1.0 as in SSD and the official recipe, 0.0 for none.
    cfg.INPUT.PHOTOMETRIC_STRENGTH = 1.0


def _add_solver(cfg: CN) -> None:
    # The learning rate of everything but the encoder, as a multiple of BASE_LR.
    cfg.SOLVER.DECODER_LR_MULTIPLIER = 10.0
    # Each block's learning rate is this times the next one's (BEiT, section 3); 1.0 as in the official recipe.
    cfg.SOLVER.LAYER_DECAY = 1.0
    # Parameters without weight decay, as shell patterns over their names.
    cfg.SOLVER.NO_WEIGHT_DECAY = ["backbone.*norm*"]
    # Besides Detectron2's schedules: "WarmupPolyLR" falls as (1 - t) ** POLY_POWER from BASE_LR to BASE_LR_END.
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupPolyLR"
    cfg.SOLVER.POLY_POWER = 1.0
    # "full_model" clips the norm of all gradients together; Detectron2's "value" and "norm" clip each parameter's.
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    # Autocast type where SOLVER.AMP.ENABLED: "float16" (with loss scaling, CUDA) or "bfloat16".
    cfg.SOLVER.AMP.PRECISION = "float16"
    # Each process takes its share of IMS_PER_BATCH in so many parts and adds up their gradients: the memory of one part
    # for the step of the whole batch, so that nothing else of a recipe changes.
    cfg.SOLVER.ACCUM_STEPS = 1
    # Evaluate and save, as a checkpoint's "model", the exponential moving average of the weights.
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    # What the average keeps of itself in a step, once warmed up: about 1 / (1 - DECAY) steps have a part in it.
    cfg.SOLVER.EMA.DECAY = 0.9998
    # At a loss or gradient that is infinite or NaN: "stop", as Detectron2 does, or "skip" the step.
    cfg.SOLVER.NON_FINITE = "stop"


def _add_test(cfg: CN) -> None:
    cfg.TEST.WINDOW = CN()
    # Segment overlapping windows of the (resized) image and average their scores, in place of the whole image at once.
    cfg.TEST.WINDOW.ENABLED = False
    # (H, W) in pixels of a window, usually the training crop, and of the step from one to the next.
    cfg.TEST.WINDOW.SIZE = [512, 512]
    cfg.TEST.WINDOW.STRIDE = [341, 341]
    # Windows of one image that share a forward pass.
    cfg.TEST.WINDOW.BATCH_SIZE = 4
    # Add up and return the scores in main memory: an image of any size then needs GPU memory for its windows alone.
    cfg.TEST.WINDOW.ACCUMULATE_ON_CPU = False
    # Return "sem_seg_labels" (H, W) in place of the K times larger "sem_seg"; its rows are dropped once decided.
    cfg.TEST.LABELS_ONLY = False
    # Evaluations also report the IoU of each class's boundary pixels (Cheng et al. 2021).
    cfg.TEST.BOUNDARY_IOU = False
    # Evaluations write each prediction as two PNGs, class ids and colours, into OUTPUT_DIR.
    cfg.TEST.SAVE_PREDICTIONS = False
