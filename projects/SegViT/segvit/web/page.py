"""`Page`: the layout and events of the web page, which shows labels, class areas, masks and kept tokens of an image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from segvit.errors import UserError
from segvit.web.analysis import Analysis, ImageAnalyzer, class_areas
from segvit.web.limits import EXTENSIONS
from segvit.web.uploads import require_uploaded
from segvit.web.views import (
    areas_table,
    describe_analysis,
    describe_limits,
    describe_refusal,
    draw_kept_tokens,
    draw_mask,
    draw_overlay,
    mask_title,
)

DEFAULT_OPACITY = 0.6
# Seconds after which analyses and files are deleted.
EXPIRY = 900
# Analyses are kept for this many visitors; one of a megapixel takes some 10 MB.
MAX_VISITORS = 32

logger = logging.getLogger(__name__)


class Outputs(NamedTuple):
    """Values of the page's outputs, in the order of the components that receive them."""

    analysis: Analysis | None
    status: str
    areas: str
    overlay: np.ndarray | None
    selected_class: gr.Dropdown
    mask: gr.Image
    kept: gr.Image


class CheckedBlocks(gr.Blocks):
    """Blocks whose events take uploaded files and numbers, and nothing else.

    Gradio looks for files in the values of all components: it copies those that it finds, and downloads URLs.

    Args:
        folder: the upload folder.
        num_classes: K.
    """

    def __init__(self, *, folder: Path, num_classes: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._folder = folder
        self._num_classes = num_classes

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any) -> list[Any]:
        """Check the values that a client sends for an event, before Gradio reads them."""
        if len(inputs) != len(block_fn.inputs):
            raise gr.Error(f"the event takes {len(block_fn.inputs)} values", print_exception=False)
        for component, value in zip(block_fn.inputs, inputs, strict=True):
            if not component.stateful:
                self._check(component, value)
        return await super().preprocess_data(block_fn, inputs, *arguments, **options)

    def _check(self, component: Any, value: object) -> None:
        try:
            if isinstance(component, gr.File):
                _require_upload(value, self._folder)
            else:
                maximum = 1 if isinstance(component, gr.Slider) else self._num_classes - 1
                _require_number(value, maximum, is_index=isinstance(component, gr.Dropdown))
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error


class Page:
    """The page around an analyzer.

    Args:
        analyzer: called with one image at a time.
        folder: the upload folder; files elsewhere are refused.
        max_waiting: requests that may wait; more are refused.
    """

    def __init__(self, analyzer: ImageAnalyzer, *, folder: Path, max_waiting: int) -> None:
        self.analyzer = analyzer
        self.names = analyzer.predictor.class_names
        self.colors = analyzer.predictor.class_colors
        self.folder = folder
        self.max_waiting = max_waiting

    def build(self) -> gr.Blocks:
        """The page with its layout, events and queue."""
        blocks = CheckedBlocks(
            folder=self.folder,
            num_classes=len(self.names),
            analytics_enabled=False,
            title="SegViT",
        )
        with blocks:
            analysis = gr.State(time_to_live=EXPIRY)
            with gr.Row():
                with gr.Column(scale=1):
                    upload = gr.File(label="Image", file_types=list(EXTENSIONS), height=130, elem_id="upload")
                    gr.HTML(describe_limits(self.analyzer.limits))
                    status = gr.HTML(elem_id="status")
                    areas = gr.HTML(elem_id="areas")
                with gr.Column(scale=3):
                    overlay = _image_panel("Overlay", "overlay")
                    with gr.Row():
                        opacity = gr.Slider(
                            0, 1, DEFAULT_OPACITY, step=0.05, label="Opacity of the colours", elem_id="opacity"
                        )
                        selected = gr.Dropdown(choices=[], label="Class of the mask", interactive=True, elem_id="class")
                    with gr.Row():
                        mask = _image_panel("Mask", "mask")
                        kept = _image_panel("Kept tokens", "kept", visible=False)
            outputs = [analysis, status, areas, overlay, selected, mask, kept]
            upload.upload(
                self.analyze,
                [upload, opacity],
                outputs,
                concurrency_limit=1,
                api_visibility="private",
                show_progress="minimal",
            )
            upload.clear(self.clear, None, outputs, queue=False, api_visibility="private", show_progress="minimal")
            for control, draw, panel in ((opacity, self.redraw, overlay), (selected, self.show_mask, mask)):
                control.input(
                    draw,
                    [analysis, control],
                    panel,
                    trigger_mode="always_last",
                    api_visibility="private",
                    show_progress="minimal",
                )
        return blocks.queue(max_size=self.max_waiting, api_open=False)

    def analyze(self, path: str, opacity: float) -> Outputs:
        """Everything about a new image, or the reason why it is refused."""
        try:
            analysis = self.analyzer(require_uploaded(path, self.folder))
        except UserError as error:
            return self._empty(describe_refusal(error))
        except Exception:
            logger.exception("an image of %s", path)
            return self._empty(describe_refusal(RuntimeError("the model failed on this image: see the server log")))
        largest = class_areas(analysis.labels)[0].index
        return Outputs(
            analysis=analysis,
            status=describe_analysis(analysis),
            areas=areas_table(analysis, self.names, self.colors),
            overlay=draw_overlay(analysis, self.names, self.colors, opacity),
            selected_class=gr.Dropdown(choices=[(name, i) for i, name in enumerate(self.names)], value=largest),
            mask=self.show_mask(analysis, largest),
            kept=gr.Image(draw_kept_tokens(analysis) if analysis.drops_tokens else None, visible=analysis.drops_tokens),
        )

    def clear(self) -> Outputs:
        """An empty page."""
        return self._empty(status="")

    def redraw(self, analysis: Analysis | None, opacity: float) -> np.ndarray | None:
        """The overlay at another opacity; None without an analysis, which may have expired."""
        return None if analysis is None else draw_overlay(analysis, self.names, self.colors, opacity)

    def show_mask(self, analysis: Analysis | None, index: int | None) -> gr.Image:
        """The mask of another class; empty without an analysis."""
        if analysis is None or index is None:
            return gr.Image(None, label="Mask")
        return gr.Image(draw_mask(analysis, index), label=mask_title(analysis, index, self.names))

    def _empty(self, status: str) -> Outputs:
        return Outputs(
            analysis=None,
            status=status,
            areas="",
            overlay=None,
            selected_class=gr.Dropdown(choices=[], value=None),
            mask=self.show_mask(None, None),
            kept=gr.Image(None, visible=False),
        )


def _require_upload(value: object, folder: Path) -> None:
    """Raise UserError for what is not an uploaded file with the name of an image, as Gradio's `FileData`."""
    fields = value if isinstance(value, dict) else {}
    # Gradio looks for files in all fields.
    if any(isinstance(field, (dict, list)) for key, field in fields.items() if key != "meta"):
        raise UserError("the file is not named by a path: upload it")
    path = require_uploaded(fields.get("path"), folder)
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"{path.name} has none of the extensions {', '.join(EXTENSIONS)}: rename it")


def _require_number(value: object, maximum: int, *, is_index: bool) -> None:
    """Raise UserError for what is not a number from 0 to `maximum`. An index is an integer, or None."""
    if is_index and value is None:
        return
    types = (int,) if is_index else (int, float)
    if isinstance(value, bool) or not isinstance(value, types) or not 0 <= value <= maximum:
        kind = "an integer" if is_index else "a number"
        raise UserError(f"the value is not {kind} from 0 to {maximum}")


def _image_panel(label: str, elem_id: str, *, visible: bool = True) -> gr.Image:
    return gr.Image(
        label=label,
        elem_id=elem_id,
        visible=visible,
        format="jpeg",
        interactive=False,
        buttons=["download", "fullscreen"],
    )
