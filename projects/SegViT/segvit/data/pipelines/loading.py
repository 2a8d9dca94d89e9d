"""`load_pipeline`: the pipeline that INPUT.AUGMENTATION names, by an import path or as YAML.

YAML can only name transforms of Albumentations and torchvision; an import path runs code of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from segvit.errors import UserError

KEY = "INPUT.AUGMENTATION"
IMPORT_PATH = re.compile(r"([\w./-]+):(\w+)")
# In a list, the prefix of transforms of torchvision.
TORCHVISION = "v2."
FORMS = (
    'an import path such as "my_module:pipeline", a YAML file, or YAML: a list such as "- HorizontalFlip: {p: 0.5}" or '
    "what albumentations.save wrote"
)

Pipeline = Callable[..., Any]


def load_pipeline(text: str) -> Pipeline:
    """The pipeline of a value of INPUT.AUGMENTATION.

    Raises:
        UserError: it is in none of the forms, names something that does not exist, or needs a library that is missing.
    """
    match = IMPORT_PATH.fullmatch(text.strip())
    if match:
        return _imported(match[1], match[2])
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{KEY} is not plain YAML: {error}") from error
    if isinstance(content, Mapping) and "transform" in content:
        return _deserialized(content)
    if isinstance(content, list) and content:
        return _listed(content)
    raise UserError(f"{KEY} {text!r:.60} must be {FORMS}")


def _imported(module_name: str, name: str) -> Pipeline:
    """An attribute of a module, or what it returns if it is a function without parameters."""
    module = _module(module_name)
    pipeline = getattr(module, name, None)
    if pipeline is None:
        raise UserError(f"{KEY}: {module.__file__} has no {name!r}")
    if inspect.isfunction(pipeline) and not inspect.signature(pipeline).parameters:
        pipeline = pipeline()
    if not callable(pipeline):
        raise UserError(f"{KEY}: {name!r} of {module.__file__} is {pipeline!r:.60}, no pipeline that can be called")
    return pipeline


def _module(name: str) -> ModuleType:
    """A module by its name, or a file: "augmentation.py", or that of the name in the working directory."""
    file = Path(name if name.endswith(".py") else name.replace(".", "/") + ".py").resolve()
    try:
        if file.is_file():
            spec = importlib.util.spec_from_file_location(file.stem, file)
            assert spec is not None and spec.loader is not None, "a .py file has a loader"
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        return importlib.import_module(name)
    except Exception as error:  # the user's code can raise anything
        raise UserError(
            f"{KEY}: {name!r} cannot be imported ({type(error).__name__}: {error}); name an installed module, or a "
            f"file below the working directory {Path.cwd()}"
        ) from error


def _listed(steps: list[Any]) -> Pipeline:
    """A list of {transform: arguments}, all of Albumentations or all of torchvision ("v2.")."""
    pairs = [_name_and_arguments(step) for step in steps]
    of_torchvision = {name.startswith(TORCHVISION) for name, _ in pairs}
    if len(of_torchvision) > 1:
        raise UserError(f"{KEY} mixes transforms of Albumentations and of torchvision ({TORCHVISION}): use one of them")
    library, base = _torchvision() if of_torchvision.pop() else _albumentations()
    transforms = []
    for name, arguments in pairs:
        kind = getattr(library, name.removeprefix(TORCHVISION), None)
        if not (inspect.isclass(kind) and issubclass(kind, base)):
            raise UserError(
                f"{KEY}: {library.__name__} has no transform {name.removeprefix(TORCHVISION)!r} (transforms of "
                f"torchvision have the prefix {TORCHVISION!r})"
            )
        transforms.append(_constructed(kind, name, arguments))
    return library.Compose(transforms)


def _name_and_arguments(step: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(step, str):
        return step, {}
    if isinstance(step, Mapping) and len(step) == 1:
        ((name, arguments),) = step.items()
        if isinstance(name, str) and isinstance(arguments or {}, Mapping):
            return name, arguments or {}
    raise UserError(f"{KEY}: {step!r:.60} must be a name and its arguments, such as HorizontalFlip: {{p: 0.5}}")


def _constructed(kind: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> Any:
    # Albumentations ignores unknown arguments with a warning.
    parameters = inspect.signature(kind).parameters.values()
    unknown = sorted(set(arguments) - {parameter.name for parameter in parameters})
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    if unknown and not takes_any:
        raise UserError(f"{KEY}: {name} has no argument {', '.join(unknown)}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{KEY}: {name}: {error}") from error


def _deserialized(content: Mapping[str, Any]) -> Pipeline:
    """What `albumentations.save` and `to_dict` write."""
    library, _ = _albumentations()
    try:
        return library.from_dict(content)
    except Exception as error:  # errors of any type on content of another version
        raise UserError(f"{KEY}: Albumentations {library.__version__} cannot read this pipeline: {error}") from error


def _albumentations() -> tuple[Any, type]:
    try:
        import albumentations
    except ImportError as error:
        raise UserError(f"{KEY} needs Albumentations: pip install 'segvit[augmentation]'") from error
    return albumentations, albumentations.BasicTransform


def _torchvision() -> tuple[Any, type]:
    from torchvision.transforms import v2

    return v2, v2.Transform
