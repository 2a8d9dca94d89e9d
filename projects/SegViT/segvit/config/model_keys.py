"""Config keys of the model: encoder, decoder, losses and continual segmentation.

The builders check choices such as REDUCTION, and whatever involves several keys or depends on the encoder.
"""

from __future__ import annotations

from segvit.config.checks import (
    Key,
    at_least,
    between,
    block_indices,
    component,
    groups_of_classes,
    names,
    names_or_ids,
    one_of,
    positive_numbers,
    whole_numbers,
)

# The components of SegViT; those of another project may take their places.
OWN_COMPONENTS = {
    "MODEL.META_ARCHITECTURE": ("SegViT",),
    "MODEL.BACKBONE.NAME": ("PlainViT", "HierarchicalViT"),
    "MODEL.SEM_SEG_HEAD.NAME": ("AttentionToMaskHead", "PerPixelHead", "ContinualHead"),
}


def own_component(key: str, registry: str) -> Key:
    """The key of a component: the first of ours by default, or the name of any in Detectron2's registry."""
    own = OWN_COMPONENTS[key]
    return Key(key, own[0], component(registry, *own))


PARTS = (
    own_component("MODEL.META_ARCHITECTURE", "META_ARCH_REGISTRY"),
    own_component("MODEL.BACKBONE.NAME", "BACKBONE_REGISTRY"),
    # Compile encoder and decoder with torch.compile: the first image or step takes minutes, the others less time.
    Key("MODEL.COMPILE", False),
    # "fewest-kernels" joins more kernels, for GPUs that wait for the host at small batches.
    Key("MODEL.COMPILE_MODE", "default", one_of("default", "fewest-kernels")),
    own_component("MODEL.SEM_SEG_HEAD.NAME", "SEM_SEG_HEADS_REGISTRY"),
    # The stages in the order in which the decoder visits them: deepest first (v1, section 3.2).
    Key("MODEL.SEM_SEG_HEAD.IN_FEATURES", ["block11", "block7", "block5"]),
)

ENCODER = (
    # The name of a timm model, which defines the architecture.
    Key("MODEL.VIT.NAME", "vit_base_patch16_384"),
    # Pre-trained weights: "" for none, a timm tag such as "augreg_in21k_ft_in1k", or a local file that timm reads.
    # Ignored if MODEL.WEIGHTS is set, because a checkpoint of the whole model contains the encoder.
    Key("MODEL.VIT.PRETRAINED", ""),
    # Minimum fraction of the encoder's tensors that the pre-trained weights must contain; with fewer the run stops.
    Key("MODEL.VIT.PRETRAINED_MIN_MATCH", 0.95),
    # (H, W) in pixels that the position embedding is built for: the training crop. It is interpolated to other sizes.
    Key("MODEL.VIT.IMG_SIZE", [512, 512], positive_numbers(2)),
    # 0-based indices of the blocks whose outputs become the stages "block<i>".
    Key("MODEL.VIT.OUT_INDICES", [5, 7, 11]),
    # Keep class and register tokens in the blocks, as in pre-training. The official SegViT drops them.
    Key("MODEL.VIT.KEEP_PREFIX_TOKENS", True),
    # Apply the encoder's final norm to the last block's stage. The official SegViT does not.
    Key("MODEL.VIT.FINAL_NORM", False),
    # Stochastic depth of the last block; it grows linearly from 0 at the first.
    Key("MODEL.VIT.DROP_PATH_RATE", 0.1, between(0, 1)),
    # Token reduction from block REDUCTION_BLOCK (0-based) on. "shrunk" keeps every second token of every second row
    # (v1, section 3.4); "shrunk++" keeps these and the tokens on class boundaries (v2, section 3.4). By cells of 2 x 2
    # patches (ours): "cells", one token for each cell without a class boundary, from the first block on; "merge", the
    # same for cells of similar tokens, in inference, for models that are trained without it.
    Key("MODEL.VIT.REDUCTION", "none"),
    Key("MODEL.VIT.REDUCTION_BLOCK", 8),
    # How that block keeps the tokens of "shrunk": "nearest_q" samples its queries (v1's choice); "nearest_qkv" drops
    # tokens before the block; "conv_q" makes queries by a stride-2 convolution (the other two of v1's ablation).
    Key("MODEL.VIT.REDUCTION_SAMPLING", "nearest_q"),
    # The block whose input the edge head of Shrunk++ reads: 0 for the embedded patches, as in the paper.
    Key("MODEL.VIT.EDGE.BLOCK", 0),
    # "threshold" keeps tokens whose edge probability exceeds THRESHOLD, a different number for every image (v2).
    # "topk" keeps the fraction SHARE of all tokens, with the coarse grid: static shapes, for export and compilers.
    Key("MODEL.VIT.EDGE.SELECTION", "threshold"),
    Key("MODEL.VIT.EDGE.THRESHOLD", 0.7),
    Key("MODEL.VIT.EDGE.SHARE", 0.36),
    # The block of "merge" before which tokens are merged, and the cells that are not: "topk" keeps the fraction SHARE
    # of all tokens; "threshold" keeps cells whose mean cosine of tokens is below THRESHOLD.
    Key("MODEL.VIT.MERGE.BLOCK", 1),
    Key("MODEL.VIT.MERGE.SELECTION", "topk"),
    Key("MODEL.VIT.MERGE.THRESHOLD", 0.9),
    Key("MODEL.VIT.MERGE.SHARE", 0.5),
    # The encoder's attention counts a merged token as the patches that share it.
    Key("MODEL.VIT.MERGE.WEIGH_SIZES", False),
    # Later blocks before which similar tokens anywhere in the image are merged, too. "topk" keeps the fraction
    # GLOBAL_SHARE of all tokens; "threshold" merges pairs with a cosine above GLOBAL_THRESHOLD.
    Key("MODEL.VIT.MERGE.GLOBAL_BLOCKS", [], block_indices),
    Key("MODEL.VIT.MERGE.GLOBAL_THRESHOLD", 0.9),
    Key("MODEL.VIT.MERGE.GLOBAL_SHARE", 0.3),
    # Recompute blocks in the backward pass: less memory, about a third more time.
    Key("MODEL.VIT.GRADIENT_CHECKPOINTING", False),
    # Train only the decoder: the encoder gets no gradients, no drop path and no updates of its statistics.
    Key("MODEL.VIT.FROZEN", False),
    # Type of a frozen encoder's linear and convolutional layers, which then compute under autocast of this type: half
    # the memory. "auto" is bfloat16 on a GPU that computes in it, else float32.
    Key("MODEL.VIT.FROZEN_PRECISION", "auto", one_of("auto", "float32", "bfloat16")),
    # "linear": timm's patch embedding. "conv": a convolutional stem, for training from scratch.
    Key("MODEL.VIT.STEM", "linear"),
    # Width of that stem's first map; each later one is twice as wide, up to EMBED_DIM. 0: only the last has that width.
    Key("MODEL.VIT.STEM_DIM", 0, at_least(0)),
    # False computes attention by plain matrix products: 3 x faster for bfloat16 training on a CPU, slower elsewhere.
    Key("MODEL.VIT.FUSED_ATTENTION", True),
    # Overrides of the architecture, for small models trained from scratch. 0 keeps timm's value.
    Key("MODEL.VIT.PATCH_SIZE", 0, at_least(0)),
    # Resample the patch embedding of pre-trained weights to another PATCH_SIZE, as in FlexiViT; False refuses them.
    Key("MODEL.VIT.RESAMPLE_PATCHES", False),
    Key("MODEL.VIT.EMBED_DIM", 0, at_least(0)),
    Key("MODEL.VIT.DEPTH", 0, at_least(0)),
    Key("MODEL.VIT.NUM_HEADS", 0, at_least(0)),
    # Standard deviation of the truncated-normal init of Linear layers; 0 keeps timm's. Narrow models need about
    # 1 / sqrt(width).
    Key("MODEL.VIT.INIT_STD", 0.0, at_least(0)),
)

DECODER = (
    # Decoder width D, heads and layers per stage (v1, section 4.1: half the encoder's width, head size 32, 3 layers).
    Key("MODEL.SEGVIT.HIDDEN_DIM", 384, at_least(1)),
    Key("MODEL.SEGVIT.NUM_HEADS", 12, at_least(1)),
    Key("MODEL.SEGVIT.NUM_LAYERS", 3, at_least(1)),
    # How the full grid is restored after token reduction. "learned": one learned query per cell of the crop (v1);
    # "inherited": the tokens before the reduction are the queries (v2); "nearest": as "inherited", plus the nearest
    # kept token (ours).
    Key("MODEL.SEGVIT.QUERY_UPSAMPLING", "none"),
    # Layers of query up-sampling, per stage. "nearest" may have none.
    Key("MODEL.SEGVIT.UPSAMPLING_LAYERS", 3, at_least(0)),
    Key("MODEL.SEGVIT.DROPOUT", 0.1, between(0, 1)),
    Key("MODEL.SEGVIT.INIT_STD", 0.02),
    # What refines the masks beyond the patch grid (ours): "none", as in the papers; "image", convolutions on the image;
    # "stem", the maps of the convolutional stem from this stride to half a patch; "tokens", the last stage alone, which
    # the others add, too.
    Key("MODEL.SEGVIT.DETAIL.SOURCE", "none", one_of("none", "image", "stem", "tokens")),
    # Width of the fine map, and its stride in pixels: 4 or 2.
    Key("MODEL.SEGVIT.DETAIL.DIM", 64, at_least(1)),
    Key("MODEL.SEGVIT.DETAIL.STRIDE", 4, at_least(1)),
    # Classifier of PerPixelHead: "linear", or Segmenter's mask transformer.
    Key("MODEL.SEGVIT.CLASSIFIER", "linear", one_of("linear", "segmenter")),
    # "mix": every query votes for every class (v1); "diagonal": query c scores only class c (v2, cheaper);
    # "softmax": masks are the class logits of each pixel, for LOSS "pixel".
    Key("MODEL.SEGVIT.OUTPUT", "mix"),
)

LOSSES = (
    # "mask": class, focal and dice loss (v1, section 3.3); "pixel": cross-entropy over the classes of each pixel, with
    # OUTPUT "softmax".
    Key("MODEL.SEGVIT.LOSS", "mask"),
    # Weight of the cross-entropy over classes, of queries or of pixels.
    Key("MODEL.SEGVIT.CLASS_WEIGHT", 1.0, at_least(0)),
    Key("MODEL.SEGVIT.FOCAL_WEIGHT", 20.0, at_least(0)),
    Key("MODEL.SEGVIT.DICE_WEIGHT", 1.0, at_least(0)),
    # Weight of "no object" in the classification loss, for queries whose class is absent from the image.
    Key("MODEL.SEGVIT.NO_OBJECT_WEIGHT", 0.1, at_least(0)),
    # True leaves ignored pixels out of the mask losses. The official code counts them as negatives of every mask.
    Key("MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS", False),
    # Weights of classes in all losses, for rare ones: [["pole", 3.0], ...]; others have 1. "auto" counts the training
    # labels, and pairs beside it override what it finds.
    Key("MODEL.SEGVIT.CLASS_WEIGHTS", []),
    # Added to the weight, 1, of pixels near a class boundary in the focal loss, for outlines and thin classes.
    Key("MODEL.SEGVIT.BOUNDARY_WEIGHT", 0.0, at_least(0)),
    # Weight of the loss of a linear classifier of the deepest stage, which trains the encoder beside the masks.
    Key("MODEL.SEGVIT.ENCODER_WEIGHT", 0.0, at_least(0)),
    # Weight of the edge loss, which trains only the edge head; and in it, the weight of edge patches against others.
    Key("MODEL.SEGVIT.EDGE_WEIGHT", 1.0, at_least(0)),
    Key("MODEL.SEGVIT.EDGE_CLASS_WEIGHT", 1.0, at_least(0)),
    # Compute mask and pixel losses on every n-th row and column of the label map.
    Key("MODEL.SEGVIT.MASK_LOSS_STRIDE", 1, at_least(1)),
)

CONTINUAL = (
    # Groups of classes that are learnt one after the other, as sizes such as "100-50": the last size repeats until all
    # classes are in a group. Or list the groups, by class ids or names, in GROUPS. If both are empty, all classes are
    # learnt at once.
    Key("MODEL.SEGVIT.CONTINUAL.PROTOCOL", ""),
    Key("MODEL.SEGVIT.CONTINUAL.GROUPS", [], groups_of_classes),
    # The order of the classes, as ids or names, that PROTOCOL splits; by default the order of the ids.
    Key("MODEL.SEGVIT.CONTINUAL.CLASS_ORDER", [], names_or_ids),
    # The name of the class that stands for everything without a label, such as VOC's "background": it is learnt in
    # the first step, where later classes are labelled as it, and neither PROTOCOL nor SELECTION counts it. "" for none.
    Key("MODEL.SEGVIT.CONTINUAL.BACKGROUND_CLASS", ""),
    # The model's class names by id, if they differ from the training data's: labels are then matched by name, and other
    # names become background. "dataset:NAME" stands for all classes of that dataset.
    Key("MODEL.SEGVIT.CONTINUAL.CLASSES", [], names),
    # The step that this model is at, from 0; -1 for the last.
    Key("MODEL.SEGVIT.CONTINUAL.STEP", -1),
    # Training images of a step: "overlapped", all that have a pixel of its classes; "disjoint", of these the images
    # without a later class.
    Key("MODEL.SEGVIT.CONTINUAL.SELECTION", "overlapped"),
    # Iterations of each step; by default SOLVER.MAX_ITER for every step.
    Key("MODEL.SEGVIT.CONTINUAL.ITERATIONS", [], whole_numbers),
    # The stages that later groups read, deepest first; by default those of the first group. More stages help, because
    # the frozen encoder was not trained for the new classes.
    Key("MODEL.SEGVIT.CONTINUAL.IN_FEATURES", [], names),
    # MODEL.SEGVIT.QUERY_UPSAMPLING of later groups; by default that of the first group. "inherited" adds self-attention
    # among the tokens, which helps if the frozen encoder does not separate the new classes.
    Key("MODEL.SEGVIT.CONTINUAL.QUERY_UPSAMPLING", ""),
    # MODEL.SEGVIT.NUM_LAYERS and HIDDEN_DIM of later groups, with heads as wide as those of the first group; 0 for its
    # values. One layer of one stage makes a protocol of many steps cheap.
    Key("MODEL.SEGVIT.CONTINUAL.NUM_LAYERS", 0, at_least(0)),
    Key("MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM", 0, at_least(0)),
    # Transformer blocks of a later group on its deepest stage, before its decoder, and their width; 0 blocks for none.
    Key("MODEL.SEGVIT.CONTINUAL.ADAPTER_BLOCKS", 0, at_least(0)),
    Key("MODEL.SEGVIT.CONTINUAL.ADAPTER_DIM", 192, at_least(1)),
    # Weight of a loss in which a new group competes with the frozen older groups for each pixel, as in prediction;
    # 0.0 for none, as in the paper.
    Key("MODEL.SEGVIT.CONTINUAL.COMPETITION_WEIGHT", 0.0, at_least(0)),
    # "bias": after training, scale the new group's scores by the factor that best separates its classes from the
    # background on its own training data. Older groups do not change.
    Key("MODEL.SEGVIT.CONTINUAL.CALIBRATION", "none"),
)

MODEL_KEYS = (*PARTS, *ENCODER, *DECODER, *LOSSES, *CONTINUAL)
