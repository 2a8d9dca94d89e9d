"""A web page that segments pictures. Gradio, an optional requirement, is imported by `page` and `server` alone."""
