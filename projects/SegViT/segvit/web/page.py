"""The page: a place to drop a picture, and what the model sees in it."""

from __future__ import annotations

import logging

import gradio as gr

from segvit.web.analysis import Analysis, PictureAnalyst, class_areas
from segvit.web.uploads import EXTENSIONS
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

OPACITY = 0.6
# Analyses and files are forgotten after this time.
FORGET_AFTER_SECONDS, LOOK_EVERY_SECONDS = 900, 60
# Visitors whose last analysis is kept; a megapixel and its masks take some 10 MB.
MAX_VISITORS = 32
PICTURE = {"format": "jpeg", "interactive": False, "buttons": ["download", "fullscreen"]}

logger = logging.getLogger(__name__)


class Page:
    """Builds the page around an analyst, and answers its events.

    Args:
        analyst: is asked for one picture at a time.
        max_waiting: requests that may wait; more are turned away.
    """

    def __init__(self, analyst: PictureAnalyst, *, max_waiting: int) -> None:
        self.analyst = analyst
        self.names = analyst.predictor.class_names
        self.colors = analyst.predictor.class_colors
        self.max_waiting = max_waiting

    def build(self) -> gr.Blocks:
        """The page, with its events and its queue."""
        blocks = gr.Blocks(
            analytics_enabled=False, title="SegViT", delete_cache=(LOOK_EVERY_SECONDS, FORGET_AFTER_SECONDS)
        )
        with blocks:
            analysis = gr.State(time_to_live=FORGET_AFTER_SECONDS)
            with gr.Row():
                with gr.Column(scale=1):
                    upload = gr.File(label="Picture", file_types=list(EXTENSIONS), height=130, elem_id="upload")
                    gr.HTML(describe_limits(self.analyst.limits))
                    status = gr.HTML(elem_id="status")
                    areas = gr.HTML(elem_id="areas")
                with gr.Column(scale=3):
                    overlay = gr.Image(label="Overlay", elem_id="overlay", **PICTURE)
                    with gr.Row():
                        opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Opacity of the colours", elem_id="opacity")
                        chosen = gr.Dropdown(choices=[], label="Class of the mask", interactive=True, elem_id="class")
                    with gr.Row():
                        mask = gr.Image(label="Mask", elem_id="mask", **PICTURE)
                        kept = gr.Image(label="Kept tokens", elem_id="kept", visible=False, **PICTURE)
            results = [analysis, status, areas, overlay, chosen, mask, kept]
            private = {"api_visibility": "private", "show_progress": "minimal"}
            upload.upload(self.analyse, [upload, opacity], results, concurrency_limit=1, **private)
            upload.clear(self.clear, None, results, queue=False, **private)
            opacity.input(self.redraw, [analysis, opacity], overlay, trigger_mode="always_last", **private)
            chosen.input(self.show_mask, [analysis, chosen], mask, trigger_mode="always_last", **private)
        blocks.state_session_capacity = MAX_VISITORS
        return blocks.queue(max_size=self.max_waiting, api_open=False)

    def analyse(self, path: str, opacity: float) -> tuple[object, ...]:
        """Everything about a new picture, or why it is refused."""
        try:
            analysis = self.analyst(path)
        except ValueError as error:
            return None, describe_refusal(error), *self._nothing()
        except Exception:
            logger.exception("a picture of %s", path)
            return None, describe_refusal(RuntimeError("this picture broke the model: see the log")), *self._nothing()
        largest = class_areas(analysis.labels)[0].index
        return (
            analysis,
            describe_analysis(analysis),
            areas_table(analysis, self.names, self.colors),
            draw_overlay(analysis, self.names, self.colors, opacity),
            gr.Dropdown(choices=[(name, index) for index, name in enumerate(self.names)], value=largest),
            self.show_mask(analysis, largest),
            gr.Image(draw_kept_tokens(analysis) if analysis.drops_tokens else None, visible=analysis.drops_tokens),
        )

    def clear(self) -> tuple[object, ...]:
        """An empty page."""
        return None, "", *self._nothing()

    def redraw(self, analysis: Analysis | None, opacity: float) -> object:
        """The overlay at another opacity."""
        return None if analysis is None else draw_overlay(analysis, self.names, self.colors, opacity)

    def show_mask(self, analysis: Analysis | None, index: int | None) -> object:
        """The mask of another class."""
        if analysis is None or index is None:
            return gr.Image(None, label="Mask")
        return gr.Image(draw_mask(analysis, index), label=mask_title(analysis, index, self.names))

    def _nothing(self) -> tuple[object, ...]:
        """Table, overlay, class, mask and kept tokens where there are none."""
        return "", None, gr.Dropdown(choices=[], value=None), self.show_mask(None, None), gr.Image(None, visible=False)
