"""Options that a command would not read in this combination: each is refused by name."""

from cases import CONFIG, EVALUATION, WEIGHTS, checkpoint, tool, written

EXPORT = (*CONFIG, "--format", "onnx", "--output", "HOME/output/m.onnx")
IMAGES = ("--images", "HOME/data/images/val")
DEMO = (*CONFIG, "--webcam", "--output", "HOME/output")

UNREAD_OPTION_CASES = [
    tool(command, f"unread {name}", mentions, arguments, *more)
    for command, name, mentions, arguments, *more in (
        ("export_model", "--labels", "--labels --images", (*EXPORT, "--labels", "HOME/data")),
        ("export_model", "--rounds", "--rounds --images", (*EXPORT, "--rounds", "2")),
        ("export_model", "TEST.PRECISION", "TEST.PRECISION --precision", (*EXPORT, "TEST.PRECISION", "bfloat16")),
        ("export_model", "TEST.LABELS_ONLY", "TEST.LABELS_ONLY --result", (*EXPORT, "TEST.LABELS_ONLY", "True")),
        (
            "export_model",
            "--min-agreement without images",
            "--min-agreement --images",
            (*EXPORT, "--precision", "float16", "--min-agreement", "0.5"),
        ),
        (
            "export_model",
            "--min-agreement in float32",
            "--min-agreement float32",
            (*EXPORT, *IMAGES, "--min-agreement", "0.5"),
        ),
        (
            "export_model",
            "--calibration-images",
            "--calibration-images int8 float16",
            (*EXPORT, "--precision", "float16", "--calibration-images", *IMAGES[1:]),
        ),
        (
            "export_model",
            "share",
            "--min-agreement 90",
            (*EXPORT, *IMAGES, "--precision", "float16", "--min-agreement", "90"),
        ),
        (
            "export_model",
            "label map",
            "--labels HOME/data/e.png",
            (*EXPORT, *IMAGES, "--labels", "HOME/data", *WEIGHTS),
            checkpoint(),
        ),
        (
            "export_model",
            "calibration video",
            "--calibration-images: HOME/a.mp4",
            (*EXPORT, "--precision", "int8", "--calibration-images", "HOME/a.mp4", *WEIGHTS),
            written("a.mp4", ""),
        ),
        ("analyze_model", "--input-size", "--input-size --train", (*CONFIG, "--train", "--input-size", "24", "32")),
        ("analyze_model", "--images", "--images --train", (*CONFIG, "--images", "2")),
        ("benchmark", "--labels-size", "--labels-size --labels", (*CONFIG, "--labels-size", "24", "32")),
        *(
            ("benchmark", f"{words[0]} in training", f"{words[0]} --train", (*CONFIG, "--train", *words))
            for words in (("--labels",), ("--present", "2"), ("--image", "HOME/a.png"), ("--compile",))
        ),
        *(
            ("demo", f"{words[0]} of a camera", f"{words[0]} --webcam", (*DEMO, *words))
            for words in (("--finished", "skip"), ("--share", "0/2"), ("--megapixels", "5"))
        ),
        ("check_dataset", "--base", "--base --measure-channels", ("HOME/data", "--base", "HOME/config.yaml")),
        *(
            (
                "check_dataset",
                f"{words[0]} with --measure-channels",
                f"{words[0]} --measure-channels",
                ("HOME/data", "--measure-channels", "HOME/new.yaml", *words),
            )
            for words in (("--output", "HOME/output"), ("--num-images", "2"))
        ),
        (
            "prepare_pascal_voc",
            "--sbd",
            "--sbd --without-sbd",
            ("--root", "HOME/root", "--sbd", "HOME/sbd", "--without-sbd"),
        ),
        ("compare_heads", "SEED", "--seeds SEED", (*CONFIG, "--seeds", "1", "2", "SEED", "3")),
        ("toy_demo", "OUTPUT_DIR", "OUTPUT_DIR HOME/other train_net.py", ("OUTPUT_DIR", "HOME/other")),
        (
            "draw_predictions",
            "TEST.AUG",
            "TEST.AUG.ENABLED --eval-only",
            (*CONFIG, "--output", "HOME/output/a.png", *WEIGHTS, "TEST.AUG.ENABLED", "True"),
            checkpoint(),
        ),
        ("benchmark", "MODEL.DEVICE", "MODEL.DEVICE cuda --device", (*CONFIG, "MODEL.DEVICE", "cuda")),
        ("export_model", "MODEL.DEVICE", "MODEL.DEVICE cuda CPU", (*EXPORT, "MODEL.DEVICE", "cuda")),
        *(
            (
                "import_dataset",
                f"{words[0]} of {kind}",
                words[0],
                ("HOME/data", "HOME/new", "--format", kind, *words),
            )
            for kind, *words in (("coco", "--ids", "from-one"), ("yolo", "--holes"), ("index", "--boxes", "skip"))
        ),
        ("train_net", "--machine-rank", "--machine-rank 1 --num-machines", ("--machine-rank", "1")),
        (
            "train_net",
            "weights of a resumed evaluation",
            "--resume MODEL.WEIGHTS 'HOME/model.pth'",
            ("--resume", "--output", "HOME", *EVALUATION),
            lambda world: (world.save_checkpoint(), (world.home / "last_checkpoint").write_text("model.pth")),
        ),
    )
]
