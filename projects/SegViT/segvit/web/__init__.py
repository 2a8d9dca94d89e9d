"""Web page that segments images. Only `page` and `server` import Gradio, which is an optional requirement."""
