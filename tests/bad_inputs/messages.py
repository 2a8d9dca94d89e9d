"""Whole error messages of some cases, as samples of their form: the thing, what is wrong, and what would be right."""

MESSAGES = {
    "train_net: missing config": "config file 'HOME/no.yaml' does not exist",
    "train_net: unknown key": "there is no config key SOLVER.MAX_ITR (the nearest is SOLVER.MAX_ITER)",
    "train_net: key without a value": "overrides are KEY VALUE pairs: SEED has no value",
    "train_net: KEY=VALUE": "overrides are KEY VALUE pairs: write 'SEED 3', not 'SEED=3'",
    "train_net: flag after the pairs": "--resume must come before the KEY VALUE pairs, in front of SEED",
    "train_net: unknown flag": "unrecognized arguments: --evalonly",
    "train_net: SOLVER.MAX_ITER 0": "SOLVER.MAX_ITER 0 must be at least 1",
    "train_net: MODEL.SEGVIT.DROPOUT 1.5": "MODEL.SEGVIT.DROPOUT 1.5 must be from 0 to 1",
    "train_net: MODEL.PIXEL_STD [0.0,1.0,1.0]": "MODEL.PIXEL_STD [0.0, 1.0, 1.0] must be 3 numbers above 0",
    "train_net: INPUT.RANDOM_FLIP both": "INPUT.RANDOM_FLIP 'both' must be 'horizontal', 'vertical' or 'none'",
    "train_net: MODEL.VIT.OUT_INDICES [0,5]": "MODEL.VIT.OUT_INDICES [0, 5] must name blocks 0 to 1",
    "train_net: MODEL.DEVICE cuda": "MODEL.DEVICE 'cuda': PyTorch sees no GPU; use cpu",
    "train_net: missing file": "MODEL.WEIGHTS: HOME/model.pth does not exist",
    "train_net: empty file": "MODEL.WEIGHTS: HOME/model.pth is empty (0 bytes)",
    "analyze_model: input size of 0": "argument --input-size: 0 is not a positive number",
    "generate_toy_scenes: negative seed": "argument --seed: -1 is negative",
}
