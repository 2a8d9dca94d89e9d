"""Steps of classes that do not add up, and a demo without what it needs."""

from cases import Case, nothing
from checkpoint_cases import CODE, pickled

CONFIG = ("--config-file", "HOME/config.yaml")
DEMO = (*CONFIG, "--input", "HOME/data/images/val/f.png", "--output")
KEY = "MODEL.SEGVIT.CONTINUAL"
PROTOCOL = (*CONFIG, f"{KEY}.PROTOCOL")


def case(command, name, message, arguments, given=nothing):
    return Case(f"{command}: {name}", message, arguments, given, command=command)


CONTINUAL = [
    case("train_continual", "no config", "name a config by --config-file", ()),
    case(
        "train_continual",
        "all classes at once",
        f"this config learns all classes at once: set {KEY}.PROTOCOL, such as '100-50'",
        CONFIG,
    ),
    case(
        "train_continual",
        "evaluation alone",
        "evaluate a step with train_net.py --eval-only and the config.yaml in its folder",
        (*CONFIG, "--eval-only"),
    ),
    case(
        "train_continual",
        "an unknown method",
        "--method joints: methods are continual, finetune, joint",
        (*CONFIG, "--method", "joints"),
    ),
    case(
        "train_continual",
        "too many classes",
        f"{KEY}.PROTOCOL '2-2' has 4 classes, but the model has 3",
        (*PROTOCOL, "2-2"),
    ),
    case(
        "train_continual",
        "a step that is not there",
        f"{KEY}.STEP 5: there are steps 0 to 1, and -1 for the last",
        (*PROTOCOL, "2-1", f"{KEY}.STEP", "5"),
    ),
    case(
        "train_continual",
        "an unknown selection",
        f"{KEY}.SELECTION 'all' must be 'overlapped' or 'disjoint'",
        (*PROTOCOL, "2-1", f"{KEY}.SELECTION", "all"),
    ),
]

APPLICATIONS = [
    case(
        "demo",
        "no weights",
        "there are no weights: name a checkpoint, as `weights` or as MODEL.WEIGHTS",
        (*DEMO, "HOME/output"),
    ),
    case(
        "demo",
        "a file for the folder",
        "--output 'HOME/config.yaml': HOME/config.yaml is a file, not a folder; choose another path",
        (*DEMO, "HOME/config.yaml"),
    ),
    case(
        "demo",
        "code",
        f"HOME/model.pkl contains code, {CODE}",
        (*DEMO, "HOME/output", "--weights", "HOME/model.pkl"),
        pickled("model.pkl"),
    ),
]

CONTINUAL_AND_DEMO_CASES = [*CONTINUAL, *APPLICATIONS]
